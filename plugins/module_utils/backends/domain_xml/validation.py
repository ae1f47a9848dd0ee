# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a config, before it is written, by the rules of libvirt and QEMU for the next boot. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import contiguous
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.machine_validation import (
    at,
    machine_problems,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.transition import with_enabled
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.state import Definition
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Layout


def check_next_boot(
    definition: Definition,
    enabled: frozenset[int],
    running: Layout | None,
    hotpluggable: frozenset[int],
    forced: bool,
) -> None:
    """Refuse a config state with which the next boot would fail in libvirt or QEMU.

    ``running`` is the layout of the running machine, ``hotpluggable`` are vCPUs that stay enabled and become
    hotpluggable. ``forced`` allows vCPUs on nodes without memory. Raises ``HotplugError`` (config_invalid).
    """
    if definition.next_boot is not None:
        definition.next_boot.check(enabled)
    check_config(definition.domain, definition.layout(running), enabled, forced, hotpluggable)


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


def _problems(before: Domain, after: Domain, entities: Sequence[Sequence[int]], forced: bool) -> Iterator[str]:
    yield from _of_the_set(after)
    yield from _of_entities(after, entities)
    yield from _of_order(after, entities)
    yield from machine_problems(after)
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


def _of_memory(after: Domain, newly_enabled: frozenset[int]) -> Iterator[str]:
    for cell in after.cells:
        vcpus = newly_enabled & (cell.cpus or frozenset())
        if vcpus and not cell.memory:
            yield (
                f"{at(after, 'numa')}vCPU {format_cpulist(vcpus)} would be enabled on node {cell.id}, which has no "
                "memory: give the cell memory, select other vCPUs, or set force: true"
            )
