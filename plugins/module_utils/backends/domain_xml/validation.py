# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a config, before it is written, by the rules of libvirt and QEMU for the next boot. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.transition import contiguous, with_enabled
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Layout

_MOST_CELLS = 128
_KIB_PER_MIB = 1024


def check_config(
    domain: Domain,
    layout: Layout | None,
    enabled: frozenset[int],
    forced: bool = False,
    hotpluggable: frozenset[int] = frozenset(),
) -> None:
    """Refuse exactly ``enabled`` in ``domain`` if the guest could not boot with the resulting XML.

    ``layout`` is that of the machine, None if it is unknown. vCPUs on a node without memory cannot be newly enabled,
    unless ``forced``. ``hotpluggable`` are those of ``enabled`` that become hotpluggable.

    Raises config_invalid for the first problem.
    """
    entities = [] if layout is None else [entity.vcpus for entity in layout.entities]
    for problem in _problems(domain, with_enabled(domain, enabled, layout, hotpluggable), entities, forced):
        raise HotplugError(CONFIG_INVALID, problem)


def check_machine(domain: Domain) -> None:
    """Refuse a topology or nodes with which no guest could boot, regardless of its enabled vCPUs.

    Raises config_invalid for the first problem.
    """
    for problem in _of_machine(domain):
        raise HotplugError(CONFIG_INVALID, problem)


def _problems(before: Domain, after: Domain, entities: Sequence[Sequence[int]], forced: bool) -> Iterator[str]:
    yield from _of_the_set(after)
    yield from _of_entities(after, entities)
    yield from _of_order(after, entities)
    yield from _of_machine(after)
    if not forced:
        yield from _of_memory(after, after.enabled - before.enabled)


def _of_the_set(after: Domain) -> Iterator[str]:
    if not after.enabled:
        yield "no vCPU would be enabled, and a guest needs one to boot: keep vCPU 0 enabled"
    elif 0 not in after.enabled:
        yield "vCPU 0 would be disabled, and every guest boots on it: keep it enabled"
    if 0 in after.hotpluggable & after.enabled:
        yield f"{at(after, 'vcpus')}vCPU 0 is hotpluggable, and every guest boots on it: give it hotpluggable='no'"
    lost = frozenset(range(after.max_vcpus)) - after.enabled - after.hotpluggable
    if lost:
        yield (
            f"{at(after, 'vcpus')}vCPU {format_cpulist(lost)} is disabled and not hotpluggable, so it could never "
            "be enabled: give it hotpluggable='yes'"
        )
    fixed = after.enabled - after.hotpluggable
    scattered = fixed - contiguous(fixed)
    if scattered:
        yield (
            f"{at(after, 'vcpus')}vCPU {format_cpulist(scattered)} is enabled and not hotpluggable, but QEMU boots "
            "with contiguous ids from 0 on: give it hotpluggable='yes', or enable those below it in the same way"
        )


def _of_entities(after: Domain, entities: Sequence[Sequence[int]]) -> Iterator[str]:
    for entity in entities:
        ids = format_cpulist(entity)
        enabled = after.enabled.intersection(entity)
        if enabled and len(enabled) < len(entity):
            yield (
                f"vCPU {format_cpulist(enabled)} would be enabled without the rest of {ids}, which the machine can "
                "only have together: enable or disable all of them"
            )
        elif enabled and 0 < len(after.hotpluggable.intersection(entity)) < len(entity):
            yield (
                f"{at(after, 'vcpus')}vCPU {ids} can only be plugged together, but not all of them are "
                "hotpluggable: give all of them the same value"
            )
        elif len({after.order.get(vcpu) for vcpu in entity}) > 1:
            yield (
                f"{at(after, 'vcpus')}vCPU {ids} can only be plugged together, but differ in order: "
                "give all of them the same order, or none"
            )


def _of_order(after: Domain, entities: Sequence[Sequence[int]]) -> Iterator[str]:
    where = at(after, "vcpus")
    ordered = after.order.keys() & after.enabled
    if ordered and ordered != after.enabled:
        missing = format_cpulist(after.enabled - ordered)
        yield f"{where}vCPU {missing} is enabled without an order, and others have one: give all an order, or none"
    if after.order.get(0, 1) != 1:
        yield f"{where}the order of vCPU 0 is {after.order[0]}, but every guest boots on it: give it order='1'"
    entity_of = {vcpu: tuple(entity) for entity in entities for vcpu in entity}
    first: dict[int, int] = {}
    for vcpu, order in sorted(after.order.items()):
        if order > after.max_vcpus:
            yield f"{where}the order of vCPU {vcpu} is {order}, above the maximum {after.max_vcpus}: lower it"
        other = first.setdefault(order, vcpu)
        if other != vcpu and entity_of.get(other, (other,)) != entity_of.get(vcpu, (vcpu,)):
            yield f"{where}vCPUs {other} and {vcpu} both have the order {order}: give each its own, or all none"
    fixed = sorted(ordered - after.hotpluggable)
    for vcpu, following in zip(fixed, fixed[1:]):
        if after.order[vcpu] > after.order[following]:
            yield (
                f"{where}vCPUs {vcpu} and {following} are not hotpluggable, and the guest boots on them by id: "
                "let their order ascend"
            )


def _of_machine(domain: Domain) -> Iterator[str]:
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


def _of_memory(after: Domain, newly_enabled: frozenset[int]) -> Iterator[str]:
    for cell in after.cells:
        vcpus = newly_enabled & (cell.cpus or frozenset())
        if vcpus and not cell.memory:
            yield (
                f"{at(after, 'numa')}vCPU {format_cpulist(vcpus)} would be enabled on node {cell.id}, which has no "
                "memory: give the cell memory, select other vCPUs, or set force: true"
            )


def at(domain: Domain, element: str) -> str:
    """Return the beginning of a message about an element of the XML, empty if its line is unknown."""
    return f"line {domain.lines[element]} of the domain XML: " if element in domain.lines else ""
