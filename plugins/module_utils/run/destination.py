# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a guest can migrate to a destination, by the vCPUs and the machine of both. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.model import CONFIG

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, GuestFacts, GuestState, Layout


# The names of the versions of a machine type, by its alias.
_ALIASES = {
    "pc": "pc-i440fx-",
    "q35": "pc-q35-",
    "pseries": "pseries-",
    "virt": "virt-",
    "s390-ccw-virtio": "s390-ccw-virtio-",
}


class End(NamedTuple):
    """One end of a migration: the running guest, or without one its next boot."""

    facts: GuestFacts
    layout: Layout
    enabled: frozenset[int]
    running: bool


def end_of(state: GuestState) -> End | None:
    """Return the end of a migration that a guest is; None if neither its live nor its config state is known."""
    if state.live is not None:
        return End(state.facts, state.layout, state.live.enabled, state.live.running)
    if state.config is not None:
        return End(state.facts, state.layout_of(CONFIG), state.config.enabled, False)
    return None


def misfits(source: End, destination: End) -> tuple[str, ...]:
    """Return the reasons why ``source`` cannot migrate to ``destination``, none if it can.

    The destination needs the same machine and the same slots, and the same of them enabled. In which order they were
    plugged, and the ids of the devices, may differ.
    """
    return tuple(_misfits(source, destination))


def _misfits(source: End, destination: End) -> Iterator[str]:
    for what, one, other in (
        ("architecture", source.facts.arch, destination.facts.arch),
        ("machine type", source.facts.machine, destination.facts.machine),
    ):
        if one is not None and other is not None and not _may_be_equal(one, other):
            yield f"the {what} is {one}, that of the destination is {other}"
    if destination.running:
        yield "the destination runs a guest already: start it with -incoming, so that it waits for the migration"
    here, there = source.layout.max_vcpus, destination.layout.max_vcpus
    if here != there:
        yield f"the maximum is {here} vCPUs, that of the destination is {there}"
    yield from _misplaced(source.layout, destination.layout)
    missing, extra = source.enabled - destination.enabled, destination.enabled - source.enabled
    if missing:
        yield f"vCPU {format_cpulist(missing)} is enabled, and disabled at the destination, where QEMU would exit"
    if extra:
        yield (
            f"vCPU {format_cpulist(extra)} is disabled, and enabled at the destination, where the guest OS would never "
            "detect it"
        )


def _may_be_equal(one: str, other: str) -> bool:
    """An alias of a machine type, as XML may have it, stands for any of its versions."""
    return one == other or other.startswith(_ALIASES.get(one, " ")) or one.startswith(_ALIASES.get(other, " "))


def _misplaced(here: Layout, there: Layout) -> Iterator[str]:
    """Compare the vCPUs that both can have."""
    others = there.by_vcpu
    pairs = [(vcpu, entity, others[vcpu]) for vcpu, entity in here.by_vcpu.items() if vcpu in others]
    moved = [vcpu for vcpu, entity, other in pairs if _position(vcpu, entity) != _position(vcpu, other)]
    if moved:
        yield f"the destination has vCPU {format_cpulist(moved)} at another position (socket, die, core or thread)"
    nodes = [vcpu for vcpu, entity, other in pairs if entity.node != other.node]
    if nodes:
        yield f"the destination has vCPU {format_cpulist(nodes)} on another NUMA node"


def _position(vcpu: int, entity: Entity) -> tuple[object, ...]:
    """The place of a vCPU. A level that only one of the machines names has the number 0 there."""
    levels = {level: number for level, number in entity.position.items() if number and level != "thread"}
    return sorted(levels.items()), entity.thread_of(vcpu) or 0, len(entity.vcpus)
