# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The benchmark: one run, one table of medians and ratios; what is compared is measured in turn, in the same run."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from conftest import collections_path

sys.path.insert(0, str(collections_path()))

from bench import domains, fleet, plugs, scale, tasks
from bench.table import table
from lab.daemon import Daemon
from lab.guest import Guest
from lab.software import releases


class Row(NamedTuple):
    """What ours took and what it is held against, in seconds, and the ratio we aim at, if there is one."""

    what: str
    ours: Sequence[float]
    against: str
    theirs: Sequence[float]
    aim: float | None = None

    def cells(self) -> list[str]:
        """Return the row's cells as they are printed."""
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        return [
            self.what,
            f"{ours * 1000:.0f} ms",
            self.against,
            f"{theirs * 1000:.0f} ms",
            f"{ours / theirs:.2f}",
            "" if self.aim is None else f"{self.aim:.1f}",
        ]


FLEETS = (1, 10, 50)
SCALE = (1, 50, 100, 300)
HEAD = ["what", "ours", "against", "theirs", "ratio", "aim"]


def main() -> None:
    """Measure everything and print the table."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        with Guest(Path(folder, "tasks"), smp="2,maxcpus=8", paused=True) as guest:
            noop, ping = tasks.measure(Path(folder), guest)
            rows.append(Row("vcpu, nothing to do, as a task", noop, "ansible.builtin.ping", ping, 1.3))
        for count in (1, 8, 32):
            ours, raw = plugs.measure(Path(folder, "plugs"), count)
            rows.append(Row(f"plug {count} to the last acknowledgement", ours, "pipelined raw QMP", raw, 1.5))
        for count in (1, 8, 32):
            placed, unplaced = plugs.measure_placed(Path(folder, "placed"), count)
            rows.append(Row(f"plug {count} and place the threads", placed, "the same with cputune: ignore", unplaced))
        with Daemon(releases()[-1]) as daemon:
            for count in (1, 4, 8):
                measured = domains.measure(Path(folder), daemon, count)
                what = f"plug {count} by libvirt, as a task"
                rows.append(Row(what, measured.ours, f"virsh setvcpu, looped {count}x in a task", measured.looped))
                rows.append(Row(what, measured.ours, f"virsh setvcpu, {count}x, no Ansible", measured.bare))
        rows += of_fleets(Path(folder))
        with fleet.guests(Path(folder, "scale"), max(SCALE)) as guests:
            growth = scale.measure(guests, SCALE, 1)
    print(table([HEAD, *(row.cells() for row in rows)]), table(growth), sep="\n\n")


def of_fleets(folder: Path) -> list[Row]:
    """Measure 1, 10 and 50 guests at once."""
    rows: list[Row] = []
    enabled = 1
    single: Sequence[float] = ()
    with fleet.guests(folder / "fleet", max(FLEETS)) as guests:
        for count in FLEETS:
            found = fleet.measure_qmp(folder, guests[:count], enabled)
            enabled = fleet.vcpus_after(enabled)
            what = f"batch of {count}"
            single = single or found["loop, nothing to do"]
            for case, loop in (("nothing to do", "loop, nothing to do"), ("one more", "loop, one more")):
                rows.append(Row(f"{what}, {case}", found[f"batch, {case}"], f"vcpu, looped {count}x", found[loop]))
            rows.append(Row(f"{what}, one more", found["batch, one more"], "raw QMP at once", found["raw, one more"]))
            if count == max(FLEETS):
                rows.append(Row(f"{what}, nothing to do", found["batch, nothing to do"], "vcpu, once", single, 2.0))
    with Daemon(releases()[-1]) as daemon, fleet.domains(daemon, max(FLEETS)) as members:
        enabled = 1
        for count in FLEETS:
            found = fleet.measure_libvirt(folder, daemon, members[:count], enabled)
            enabled += 2 * fleet.ROUNDS
            against = f"virsh setvcpu, looped {count}x"
            aim = 0.1 if count == max(FLEETS) else None
            what = f"batch of {count} by libvirt, one more"
            rows.append(Row(what, found["batch, one more"], against, found["virsh, one more"], aim))
    return rows


if __name__ == "__main__":
    main()
