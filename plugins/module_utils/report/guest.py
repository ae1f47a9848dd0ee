# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of the modules about a guest's state: plain dictionaries, as documented under RETURN."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    CHANGED,
    CONFIG,
    DISABLED,
    EMPTY,
    ENABLED,
    FULL,
    LEVELS,
    LIVE,
    Entity,
    GuestState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import NOWHERE
from ansible_collections.kvm.hotplug.plugins.module_utils.report.vcpus_xml import vcpus_xml

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.placement import Placement
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Observation

SPARSE_FEATURE = "sparse-vcpus"


def guest_report(seen: Observation, details: str = FULL, changed: Collection[int] = frozenset()) -> dict[str, Any]:
    """Return the results about a guest that all modules share, limited by ``details``.

    ``changed`` are the vCPUs that are returned if ``details`` is changed.
    """
    state = seen.state
    sparse = {"live": _is_sparse(_live(state)), "config": _is_sparse(_config(state))}
    report: dict[str, Any] = {
        "guest": {
            "name": state.facts.name,
            "uuid": state.facts.uuid,
            "state": state.facts.state,
            "arch": state.facts.arch,
            "machine": state.facts.machine,
            "max_vcpus": state.layout.max_vcpus,
            "entity_size": state.layout.entity_size,
        },
        "sparse": sparse,
        "headroom": {scope: _headroom(state, scope) for scope in (LIVE, CONFIG)},
    }
    if details == CHANGED:
        report["vcpus"] = _vcpus(state, changed)
        report["nodes"] = [node for node in _nodes(state) if not parse_cpulist(node["vcpus"]).isdisjoint(changed)]
    elif details == FULL:
        vcpus = report["vcpus"] = _vcpus(state)
        report["nodes"] = _nodes(state)
        report["xml"] = vcpus_xml(vcpu for vcpu in vcpus if vcpu["id"] < state.layout.max_vcpus)
        report["migration"] = _migration(sparse, _destination_args(seen))
    return report


def _destination_args(seen: Observation) -> list[str]:
    """Return those of the machine, or those of the config if the machine does not know the memory of NUMA nodes."""
    state = seen.state
    if seen.destination_args or seen.config is None or state.live is None:
        return list(seen.destination_args)
    if state.layout_of(CONFIG) != state.layout:
        # The next boot is of a machine with another maximum.
        return []
    try:
        return list(seen.config.boot_arguments(state.live.enabled))
    except HotplugError:
        # The next boot is of another machine, which cannot have these vCPUs.
        return []


def _headroom(state: GuestState, name: str) -> int | None:
    """How many more vCPUs can be enabled at most; None for a scope that the guest does not have."""
    scope = state.scope(name)
    return None if scope is None else state.layout_of(name).max_vcpus - len(scope.enabled)


def _live(state: GuestState) -> frozenset[int] | None:
    return None if state.live is None else state.live.enabled


def _config(state: GuestState) -> frozenset[int] | None:
    return None if state.config is None else state.config.enabled


def state_of(state: GuestState, name: str, vcpu: int) -> str | None:
    """Return the state of a vCPU in a scope, None if the scope does not exist or cannot have the vCPU."""
    scope = state.scope(name)
    if scope is None or vcpu >= state.layout_of(name).max_vcpus:
        return None
    return ENABLED if vcpu in scope.enabled else DISABLED


def _vcpus(state: GuestState, only: Collection[int] | None = None) -> list[dict[str, Any]]:
    return [
        _vcpu(state, entity, vcpu)
        for entity in state.widest_layout.entities
        for vcpu in entity.vcpus
        if only is None or vcpu in only
    ]


def _vcpu(state: GuestState, entity: Entity, vcpu: int) -> dict[str, Any]:
    live = state.live
    placement = _placement(state, vcpu)
    return {
        "id": vcpu,
        "live": state_of(state, LIVE, vcpu),
        "config": state_of(state, CONFIG, vcpu),
        "online": vcpu in state.online.enabled if state.online is not None and vcpu in state.online.known else None,
        "hotpluggable": _is_hotpluggable(state, entity),
        "node": entity.node,
        **{level: entity.position.get(level) for level in LEVELS[:-1]},
        "thread": entity.thread_of(vcpu),
        "entity": format_cpulist(entity.vcpus),
        "alias": None if live is None else live.aliases.get(entity.vcpus[0]),
        "order": _order(state).get(vcpu),
        "thread_id": None if live is None else live.thread_ids.get(vcpu),
        "pin": placement.pin,
        "scheduler": placement.scheduler,
    }


def _placement(state: GuestState, vcpu: int) -> Placement:
    """Where the thread of a vCPU runs, or is to run if the vCPU has none."""
    if state.live is not None and vcpu in state.live.enabled:
        return state.live.placements.get(vcpu, NOWHERE)
    return NOWHERE if state.tuning is None else state.tuning.placements.get(vcpu, NOWHERE)


def _order(state: GuestState) -> Mapping[int, int]:
    if state.live is not None and state.live.tuning is not None:
        return state.live.order
    return EMPTY if state.config is None else state.config.order


def _is_hotpluggable(state: GuestState, entity: Entity) -> bool:
    """Whether the machine can plug and unplug this vCPU, regardless of temporary blockers."""
    if not state.layout.hotplug:
        return False
    if state.live is None or entity.vcpus[0] >= state.layout.max_vcpus:
        return state.config is None or state.config.hotpluggable.issuperset(entity.vcpus)
    is_enabled = not state.live.enabled.isdisjoint(entity.vcpus)
    live = state.live if is_enabled else state.live.without_unsafe_plugs
    blockers = (live.cannot_enable.get(entity.index), live.cannot_disable.get(entity.index))
    return not any(blocker is not None and blocker.structural for blocker in blockers)


def _nodes(state: GuestState) -> list[dict[str, Any]]:
    return [
        {
            "id": node,
            "vcpus": format_cpulist(vcpus),
            "live": _cpulist_of(vcpus, _live(state)),
            "config": _cpulist_of(vcpus, _config(state)),
        }
        for node, entities in state.widest_layout.nodes.items()
        for vcpus in [[vcpu for entity in entities for vcpu in entity.vcpus]]
    ]


def _cpulist_of(vcpus: Iterable[int], enabled: frozenset[int] | None) -> str | None:
    return None if enabled is None else format_cpulist(enabled.intersection(vcpus))


def _is_sparse(enabled: frozenset[int] | None) -> bool | None:
    return None if enabled is None else bool(enabled) and max(enabled) != len(enabled) - 1


def _migration(sparse: Mapping[str, bool | None], destination_args: Iterable[str]) -> dict[str, Any]:
    where = " and ".join(scope for scope in ("live", "config") if sparse[scope])
    return {
        "feature": SPARSE_FEATURE if where else None,
        "reason": (
            f"the enabled vCPUs are not 0 to n-1 ({where}): a destination that is started with their number only has "
            "other vCPUs, so it must be started with destination_args"
            if where
            else "the enabled vCPUs are 0 to n-1: their number is sufficient to start a destination"
        ),
        "destination_args": list(destination_args),
    }
