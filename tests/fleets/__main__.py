# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fleets of guests: what batches, vcpu_info and the inventory take by the number of guests, over QMP and libvirt.

Environment variables: GUESTS, the numbers of running guests, "10 100 300" if not set; MANY, that of the recorded ones
and of the domains that are shut off, 1000.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from conftest import collections_path

sys.path.insert(0, str(collections_path()))

from fleets import guests
from fleets.costs import Cost, run_inventory, run_module
from fleets.recorded import recorded
from lab import LabError, kvm, observer
from lab.daemon import Daemon
from lab.ospm import OspmGuest
from lab.ospm_domain import OspmDomain
from lab.software import releases

# No process may have more memory, in MiB.
MOST_MEMORY = 300
BATCH, INFO, INVENTORY = "vcpu_batch", "vcpu_info", "inventory"
# What is done with the running guests, which boot with vCPU 0, and which is their last one then.
CHANGES = (("plug 1", 1), ("unplug 1", 0), ("plug 8", 8), ("nothing to do", 8), ("unplug 8", 0))

Costs = dict[str, dict[int, Cost]]
Running = Sequence[Union[OspmGuest, OspmDomain]]


def main() -> int:
    """Measure everything and print the table; return 0 if each process kept to the memory it may have."""
    numbers = [int(number) for number in os.environ.get("GUESTS", "10 100 300").split()]
    many = int(os.environ.get("MANY", "1000"))
    costs: Costs = {}
    print(kvm.summary(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with guests.direct(folder, max(numbers)) as fleet:
            for number in numbers:
                _change(costs, "QMP", fleet[:number])
            with recorded(fleet[0].qmp_socket, folder, many) as sockets:
                for number in (*numbers, many):
                    _inspect(costs, "QMP, recorded", folder, None, number, qmp_sockets=sockets[:number])
        with guests.domains(releases()[-1], max(numbers)) as started:
            for number in numbers:
                _change(costs, "libvirt", started[:number])
            _inspect(costs, "libvirt, running", folder, started[0].daemon, len(started), uri=started[0].daemon.uri)
        for number in (*numbers, many):
            with guests.defined(releases()[-1], number) as (daemon, _names):
                _inspect(costs, "libvirt, shut off", folder, daemon, number, uri=daemon.uri)
    _print(costs)
    most = max(cost.memory for by_number in costs.values() for cost in by_number.values())
    print(f"\nThe most memory of a process was {most:.0f} MiB, of {MOST_MEMORY}")
    return 0 if most <= MOST_MEMORY else 1


def _change(costs: Costs, way: str, fleet: Running) -> None:
    """Plug and unplug vCPUs of all guests; QEMU is asked for the outcome."""
    client = getattr(fleet[0], "daemon", None)
    named: list[dict[str, Any]] = [
        {"name": guest.name, "uri": guest.daemon.uri}
        if isinstance(guest, OspmDomain)
        else {"qmp_socket": guest.qmp_socket}
        for guest in fleet
    ]
    for what, last in CHANGES:
        wanted = list(range(last + 1))
        # Forced, because vCPUs come back that have run no code, which QEMU cannot report.
        result, cost = run_module(
            BATCH, client, guests=named, defaults={"enabled": f"0-{last}", "force": True, "scope": "live"}
        )
        changed = 0 if what == "nothing to do" else len(fleet)
        if (result.get("error_code"), result.get("summary", {}).get("changed")) != (None, changed):
            raise LabError(f"{what} of {len(fleet)} guests by {way}: {str(result)[:3000]}")
        for number, guest in enumerate(fleet):
            found = observer.enabled_ids(guest.observer)
            if found != wanted:
                raise LabError(f"{what} by {way}: guest {number} has the vCPUs {found}")
        _keep(costs, f"{BATCH}, {what}, {way}", len(fleet), cost)


def _inspect(costs: Costs, way: str, folder: Path, client: Daemon | None, number: int, **places: Any) -> None:
    """Inspect this many guests, by the module and by the inventory plugin."""
    result, cost = run_module(INFO, client, **places)
    if len(result.get("guests", ())) != number:
        raise LabError(f"{INFO} of {number} guests by {way}: {str(result)[:3000]}")
    _keep(costs, f"{INFO}, {way}", number, cost)
    options = {"uris": [places["uri"]]} if "uri" in places else places
    listed, cost = run_inventory(folder, client, **options)
    if len(listed["guests"]["hosts"]) != number:
        raise LabError(f"{INVENTORY} of {number} guests by {way}: {str(listed)[:3000]}")
    _keep(costs, f"{INVENTORY}, {way}", number, cost)


def _keep(costs: Costs, what: str, number: int, cost: Cost) -> None:
    costs.setdefault(what, {})[number] = cost
    print(f"{what}, {number} guests: {cost}", flush=True)


def _print(costs: Costs) -> None:
    """Print the table: for each number the duration, the CPU time and the memory; then the growth of the CPU time."""
    numbers = sorted({number for by_number in costs.values() for number in by_number})
    print("\n| what |", " | ".join(f"{number} guests" for number in numbers), "| CPU time of a further guest |")
    print("| --- " * (len(numbers) + 2) + "|")
    for what, by_number in costs.items():
        cells = [str(by_number.get(number, "-")) for number in numbers]
        pairs = list(zip(sorted(by_number), sorted(by_number)[1:]))
        further = [(by_number[high].cpu - by_number[low].cpu) / (high - low) * 1000 for low, high in pairs]
        growth = ", ".join(f"{milliseconds:.1f}" for milliseconds in further)
        print(f"| {what} |", " | ".join(cells), f"| {growth + ' ms' if growth else '-'} |")


if __name__ == "__main__":
    sys.exit(main())
