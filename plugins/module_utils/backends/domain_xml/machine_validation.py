# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the machine of a domain, regardless of its enabled vCPUs, by the rules of libvirt and QEMU. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain

_MOST_CELLS = 128
_KIB_PER_MIB = 1024


def check_machine(domain: Domain) -> None:
    """Refuse a topology or nodes with which no guest could boot, regardless of its enabled vCPUs.

    Raises config_invalid for the first problem.
    """
    for problem in machine_problems(domain):
        raise HotplugError(CONFIG_INVALID, problem)


def machine_problems(domain: Domain) -> Iterator[str]:
    """Return the problems of a topology, nodes or memory with which no guest could boot, as messages."""
    yield from _of_topology(domain)
    yield from _of_cells(domain)
    yield from _of_distances(domain)
    yield from _of_max_memory(domain)


def _of_topology(after: Domain) -> Iterator[str]:
    product = prod(after.topology.values())
    if after.topology and product != after.max_vcpus:
        factors = " x ".join(f"{number} {level}" for level, number in after.topology.items())
        yield (
            f"{at(after, 'topology')}<topology> makes {product} vCPUs ({factors}), but <vcpu> has "
            f"{after.max_vcpus}: make them agree"
        )


def _of_cells(after: Domain) -> Iterator[str]:
    where = at(after, "numa")
    if len(after.cells) > _MOST_CELLS:
        yield f"{where}<numa> has {len(after.cells)} cells, but QEMU supports {_MOST_CELLS}: remove the others"
    missing = frozenset(range(len(after.cells))) - {cell.id for cell in after.cells}
    if missing:
        yield f"{where}<numa> has no cell {format_cpulist(missing)}: number the cells from 0, without a gap"
    cell_of: dict[int, int] = {}
    for cell in after.cells:
        beyond = frozenset(vcpu for vcpu in cell.cpus or () if vcpu >= after.max_vcpus)
        if beyond:
            yield (
                f"{where}cell {cell.id} has vCPU {format_cpulist(beyond)}, but the highest possible id is "
                f"{after.max_vcpus - 1}: remove it, or raise the number in <vcpu>"
            )
        twice = cell_of.keys() & (cell.cpus or frozenset())
        if twice:
            others = format_cpulist(cell_of[vcpu] for vcpu in twice)
            yield f"{where}vCPU {format_cpulist(twice)} is in cell {cell.id} and in {others}: keep it in one of them"
        cell_of.update(dict.fromkeys(cell.cpus or (), cell.id))


def _of_distances(domain: Domain) -> Iterator[str]:
    where = at(domain, "numa")
    cells = {cell.id for cell in domain.cells}
    named = {other for cell in domain.cells for other in cell.distances}
    named |= {cell for link in domain.interconnects for cell in (link.initiator, link.target)}
    if named - cells:
        yield f"{where}<numa> has no cell {format_cpulist(named - cells)}, but refers to it: use an existing cell"
    for link in domain.interconnects:
        if link.kind == "bandwidth" and link.value % _KIB_PER_MIB:
            yield f"{where}a bandwidth is {link.value} KiB, but QEMU accepts only whole MiB: round it"


def _of_max_memory(domain: Domain) -> Iterator[str]:
    memory = sum(cell.memory for cell in domain.cells) or domain.memory
    if domain.memory_slots and domain.max_memory <= memory:
        yield (
            f"{at(domain, 'maxMemory')}<maxMemory> is {domain.max_memory} KiB, but the guest boots with {memory}: "
            "raise it, or remove it"
        )


def at(domain: Domain, element: str) -> str:
    """Return the beginning of a message about an element of the XML, empty if its line is unknown."""
    return f"line {domain.lines[element]} of the domain XML: " if element in domain.lines else ""
