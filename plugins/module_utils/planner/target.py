# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the ids to have enabled from the desired state and the observed state of a guest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    NOT_HOTPLUGGABLE,
    PARTIAL_ENTITY,
    UNKNOWN_NODE,
    UNKNOWN_VCPU,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    ENABLED,
    LIVE,
    Blocker,
    Entity,
    GuestState,
    Layout,
    LiveState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.choice import Unit, choose, choose_spread
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import (
    CountTarget,
    DesiredState,
    NodeTarget,
    VcpuTarget,
)


def resolve(
    desired: DesiredState, state: GuestState, scopes: Sequence[str], whole_cores: bool
) -> dict[str, frozenset[int]]:
    """Return the ids to have enabled in each scope.

    With ``whole_cores`` a named vCPU stands for its core. Raises ``HotplugError`` if the desired state names vCPUs or
    nodes that the guest does not have, splits an entity, or is a number that cannot be reached.
    """
    # Live and config may have different maxima: what both are to have is chosen among the vCPUs that both can have.
    layouts = sorted((state.layout_of(scope) for scope in scopes), key=lambda layout: layout.max_vcpus)
    groups = _groups(layouts[0], whole_cores)
    if isinstance(desired, VcpuTarget):
        enable, disable = _named(desired, state, layouts, whole_cores)
        return {scope: enable if desired.exclusive else (_enabled(state, scope) | enable) - disable for scope in scopes}
    units = [_unit(group, state, scopes) for group in groups]
    if isinstance(desired, CountTarget):
        # One choice for all scopes, so that live and config become equal.
        more = _to_have_more(state)
        chosen = (
            choose_spread(units, desired.count, more)
            if desired.spread
            else choose(units, desired.count, "the guest", more)
        )
        return dict.fromkeys(scopes, chosen)
    return _by_node(desired, state, scopes, units)


def unconcerned(desired: DesiredState | None, state: GuestState, whole_cores: bool) -> frozenset[int]:
    """Return the ids that the desired state does not change."""
    layout = state.layout
    if isinstance(desired, VcpuTarget) and not desired.exclusive:
        enable, disable = _named(desired, state, [layout, state.widest_layout], whole_cores)
        return frozenset(layout.by_vcpu) - enable - disable
    if isinstance(desired, NodeTarget):
        return frozenset(vcpu for vcpu, entity in layout.by_vcpu.items() if entity.node not in desired.nodes)
    return frozenset()


def _groups(layout: Layout, whole_cores: bool) -> list[tuple[Entity, ...]]:
    """A group of vCPUs that are enabled and disabled together."""
    if not whole_cores:
        return [(entity,) for entity in layout.entities]
    cores: dict[object, list[Entity]] = {}
    for entity in layout.entities:
        cores.setdefault(entity.core, []).append(entity)
    return [tuple(core) for core in cores.values()]


def _vcpus(entities: Iterable[Entity]) -> tuple[int, ...]:
    return tuple(vcpu for entity in entities for vcpu in entity.vcpus)


def _named(
    desired: VcpuTarget, state: GuestState, layouts: Sequence[Layout], whole_cores: bool
) -> tuple[frozenset[int], frozenset[int]]:
    """The ids to enable and to disable, as whole groups; ``layouts`` are in the order of their maxima."""
    groups = _groups(layouts[-1], whole_cores)
    for ids, layout in ((desired.enable, layouts[0]), (desired.disable, layouts[-1])):
        unknown = [vcpu for vcpu in ids if vcpu >= layout.max_vcpus]
        if unknown:
            raise HotplugError(
                UNKNOWN_VCPU,
                f"vCPU {format_cpulist(unknown)} is above the guest's highest id, {layout.max_vcpus - 1}: "
                f"name other vCPUs, or {_to_have_more(state)}",
            )
    if not whole_cores:
        _refuse_parts(desired.enable, groups, "enable")
        _refuse_parts(desired.disable, groups, "disable")
        return desired.enable, desired.disable
    enable = frozenset(vcpu for group in groups for vcpu in _vcpus(group) if desired.enable.intersection(_vcpus(group)))
    disable = frozenset(
        vcpu for group in groups for vcpu in _vcpus(group) if desired.disable.intersection(_vcpus(group))
    )
    if enable & disable:
        raise HotplugError(
            CONFLICTING_REQUEST,
            f"with granularity core, vCPUs {format_cpulist(enable & disable)} are requested both enabled and disabled: "
            "name each core once",
        )
    return enable, disable


def _refuse_parts(ids: frozenset[int], groups: Sequence[tuple[Entity, ...]], verb: str) -> None:
    for group in groups:
        members = frozenset(_vcpus(group))
        if ids & members and not members <= ids:
            raise HotplugError(
                PARTIAL_ENTITY,
                f"cannot {verb} vCPU {format_cpulist(ids & members)} without {format_cpulist(members - ids)}: "
                f"this machine plugs {format_cpulist(members)} as one core; name them all, or use granularity core",
            )


def _by_node(
    desired: NodeTarget, state: GuestState, scopes: Sequence[str], units: Sequence[Unit]
) -> dict[str, frozenset[int]]:
    nodes = state.widest_layout.nodes
    unknown = [node for node in desired.nodes if node not in nodes]
    if unknown:
        has = f"nodes with vCPUs are {format_cpulist(nodes)}" if nodes else "the guest has no NUMA nodes"
        raise HotplugError(UNKNOWN_NODE, f"there is no vCPU on node {format_cpulist(unknown)}: {has}")
    named: set[int] = set()
    chosen: set[int] = set()
    for node, wanted in desired.nodes.items():
        ids = frozenset(vcpu for entity in nodes[node] for vcpu in entity.vcpus)
        named |= ids
        if isinstance(wanted, int):
            members = [unit for unit in units if unit.node == node]
            chosen |= choose(members, wanted, f"node {node}", _to_have_more(state))
        elif wanted == ENABLED:
            chosen |= ids
    return {
        scope: frozenset((_enabled(state, scope) - named) | chosen.intersection(state.layout_of(scope).by_vcpu))
        for scope in scopes
    }


def _to_have_more(state: GuestState) -> str:
    """The remedy for a request of more vCPUs than there are; an agent alone shows only plugged vCPUs."""
    if state.live is None and state.config is None:
        return "plug more vCPUs first, with method hotplug, which needs qmp_socket or name"
    if state.config is None:
        return "start the guest with a larger maximum"
    if state.live is None:
        return "raise the maximum with the option maximum"
    return "raise the maximum of the next boot with the options maximum and scope: config, and shut down and start it"


def _enabled(state: GuestState, scope: str) -> frozenset[int]:
    found = state.scope(scope)
    return found.enabled if found is not None else frozenset()


def _unit(group: tuple[Entity, ...], state: GuestState, scopes: Sequence[str]) -> Unit:
    """Rate a group by all scopes of the choice: if it is pinned or barred in one, it is in all."""
    vcpus = _vcpus(group)
    ids = frozenset(vcpus)
    pinned = False
    barred_by: Blocker | None = None
    weight = 0
    for scope in scopes:
        found = state.scope(scope)
        if found is None:
            continue
        pinned = pinned or _blocker(found.cannot_disable, group, found.enabled, True) is not None
        barred_by = barred_by or _blocker(found.cannot_enable, group, found.enabled, False)
        # Live counts double, because a change disturbs a running guest. Without hotplug, a count is 0 to n-1.
        if state.layout.hotplug:
            weight += len(found.enabled & ids) * (2 if scope == LIVE else 1)
    priority = 0
    if LIVE in scopes and state.live is not None:
        if state.live.ejecting & ids:
            # Its unplug is in progress: the first to be disabled, the last to be enabled again.
            weight = -1
        else:
            priority = _priority(group, state.live)
    return Unit(vcpus, group[0].node, pinned, None if pinned else barred_by, priority, weight)


def _priority(group: tuple[Entity, ...], live: LiveState) -> int:
    unsafe = [live.enabled.issuperset(entity.vcpus) for entity in group if entity.index in live.unsafe_plugs]
    if not unsafe:
        return 0
    return 1 if all(unsafe) else -1


def _blocker(
    blockers: Mapping[int, Blocker], group: tuple[Entity, ...], enabled: frozenset[int], when_enabled: bool
) -> Blocker | None:
    """Why a member cannot change while the guest runs; other blockers concern the whole guest, not the choice."""
    for entity in group:
        blocker = blockers.get(entity.index)
        if blocker is None or blocker.code != NOT_HOTPLUGGABLE:
            continue
        if enabled.isdisjoint(entity.vcpus) is not when_enabled:
            return blocker
    return None
