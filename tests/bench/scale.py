# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the time and the memory of one batch grow with its guests: the module alone, without Ansible around it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from fleets.costs import Cost, run_module
from lab.guest import Guest

ROUNDS = 3


def measure(fleet: Sequence[Guest], counts: Sequence[int], enabled: int) -> list[list[str]]:
    """Return the cells of a table by number of guests, each of which has ``enabled`` vCPUs before."""
    rows = [["guests in a batch", "nothing to do", "one vCPU more each", "peak memory"]]
    for count in counts:
        idle: list[Cost] = []
        busy: list[Cost] = []
        for number in range(ROUNDS):
            busy.append(_run(fleet[:count], enabled + number + 1))
            idle.append(_run(fleet[:count], enabled + number + 1))
        enabled += ROUNDS
        rows.append([str(count), _told(idle), _told(busy), f"{max(run.memory for run in busy):.0f} MiB"])
    return rows


def _told(runs: Sequence[Cost]) -> str:
    return f"{statistics.median(run.seconds for run in runs):.2f} s"


def _run(fleet: Sequence[Guest], count: int) -> Cost:
    defaults = {"count": count, "guest_online": "ignore"}
    guests = [{"qmp_socket": guest.qmp_socket} for guest in fleet]
    result, cost = run_module("kvm.hotplug.vcpu_batch", None, guests=guests, defaults=defaults)
    if result.get("failed"):
        raise SystemExit(f"a batch of {len(fleet)} guests failed: {result['msg']}")
    return cost
