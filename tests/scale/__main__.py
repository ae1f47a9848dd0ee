# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How rollouts grow with the number of hypervisors: each playbook against a bare play of the batches that it contains.

Environment variables: HYPERVISORS, the numbers of simulated hypervisors, and GUESTS, the guests on each. With GUESTS=0,
only the first hypervisor has a guest, and what is left is Ansible's own time.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from conftest import collections_path

sys.path.insert(0, str(collections_path()))

from bench.table import table
from fleets.costs import Cost
from scale.fleet import AFTER, BEFORE, Fleet

HEAD = ["playbook", "hypervisors", "CPU time", "per hypervisor", "bare play", "ratio", "time", "peak memory"]
READ = {"check_mode": True, "changed_when": False}


def main() -> None:
    """Measure all numbers of hypervisors and print the table."""
    guests = int(os.environ.get("GUESTS", "15"))
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in map(int, (os.environ.get("HYPERVISORS") or "20 60 200").split()):
            for what, ours, bare in measure(Fleet(Path(folder, str(number)), number, guests)):
                rows.append(cells(what, number, ours, bare))
                print(*rows[-1], file=sys.stderr, flush=True)
    order = list(dict.fromkeys(row[0] for row in rows))
    rows.sort(key=lambda row: order.index(row[0]))
    print(f"{guests} guests on each hypervisor", table([HEAD, *rows]), sep="\n\n")


def measure(fleet: Fleet) -> Iterator[tuple[str, Cost, Cost]]:
    """Yield what was run, what it took, and what the bare play of its batches took."""
    change = {"plan": READ, "plan again": READ, "change": {}, "verify": READ}
    bare = fleet.bare(change, changed=True)
    fleet.reset(BEFORE)
    yield "rollout", fleet.play("kvm.hotplug.rollout", changed=True), bare
    bare = fleet.bare({"plan": READ, "plan again": READ}, changed=False)
    yield "rollout, nothing to do", fleet.play("kvm.hotplug.rollout", changed=False), bare
    bare = fleet.bare({"plan": READ}, changed=False)
    yield "audit", fleet.play("kvm.hotplug.audit", changed=False), bare
    # A bare play reverts by the same batches in the other direction.
    fleet.reset(BEFORE)
    bare = fleet.bare({"read": READ, "revert": {}, "read again": READ}, changed=True)
    fleet.reset(AFTER)
    yield "revert", fleet.play("kvm.hotplug.revert", changed=True), bare


def cells(what: str, hypervisors: int, ours: Cost, bare: Cost) -> list[str]:
    """Return the row of a playbook."""
    return [
        what,
        str(hypervisors),
        f"{ours.cpu:.0f} s",
        f"{ours.cpu / hypervisors:.2f} s",
        f"{bare.cpu:.0f} s",
        f"{ours.cpu / bare.cpu:.2f}",
        f"{ours.seconds:.0f} s",
        f"{ours.memory:.0f} MiB",
    ]


if __name__ == "__main__":
    main()
