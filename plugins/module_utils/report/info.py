# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of ``vcpu_info``: a guest's state, and which changes are possible now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import PARTIAL_ENTITY, UNKNOWN_VCPU
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    DISABLED,
    EMPTY,
    ENABLED,
    FULL,
    Blocker,
    LiveState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.report.guest import guest_report

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, GuestState
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.inspection import Inspection
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Observation


def info_report(seen: Observation, details: str = FULL) -> dict[str, Any]:
    """Return one guest of ``vcpu_info``: the common results, and which changes are possible now."""
    report = guest_report(
        seen, details, frozenset(_differing(seen.state) or ()) | frozenset(seen.state.misplaced or ())
    )
    by_vcpu = seen.state.widest_layout.by_vcpu
    for vcpu in report.get("vcpus", []):
        vcpu.update(_host_memory(seen.state, vcpu))
        vcpu["can_enable"] = _obstacle(seen.state, by_vcpu[vcpu["id"]], vcpu, enabling=True)
        vcpu["can_disable"] = _obstacle(seen.state, by_vcpu[vcpu["id"]], vcpu, enabling=False)
    report["drift"] = {
        "config": _drift(seen.state),
        "libvirt": _record_drift(seen.state),
        "placement": None if seen.state.misplaced is None else format_cpulist(seen.state.misplaced),
    }
    if details == FULL:
        report["qemu_args"] = _qemu_args(seen)
    return report


def _host_memory(state: GuestState, vcpu: Mapping[str, Any]) -> dict[str, Any]:
    """The host nodes that a vCPU may run on, and whether the memory of its guest node is there."""
    host_nodes = EMPTY if state.live is None else state.live.host_nodes
    found = host_nodes.get(vcpu["id"])
    memory = None if state.tuning is None else state.tuning.memory_of(vcpu["node"])
    return {
        "host_nodes": None if found is None else format_cpulist(found),
        "memory_is_local": None if found is None or memory is None else not memory.isdisjoint(found),
    }


def destination_report(misfits: Sequence[str] | None) -> dict[str, Any]:
    """Return whether a guest fits its destination; nothing without a destination."""
    return {} if misfits is None else {"destination": {"fits": not misfits, "reasons": list(misfits)}}


def failure_report(inspection: Inspection) -> dict[str, Any]:
    """Return the result for a guest that could not be observed."""
    error = inspection.error
    return {
        "guest": inspection.ref.label,
        "error_code": None if error is None else error.code,
        "msg": "" if error is None else error.msg,
    }


def _qemu_args(seen: Observation) -> list[str]:
    if seen.config is None or seen.state.config is None:
        return []
    return list(seen.config.boot_arguments(seen.state.config.enabled))


def _obstacle(state: GuestState, entity: Entity, vcpu: Mapping[str, Any], enabling: bool) -> dict[str, str] | None:
    """Why this vCPU alone cannot be enabled or disabled now; None if it can, or if it is already."""
    scope, found = ("live", state.live) if state.live is not None else ("config", state.config)
    if found is None or vcpu[scope] == (ENABLED if enabling else DISABLED):
        return None
    if vcpu[scope] is None:
        return (
            {
                "code": UNKNOWN_VCPU,
                "reason": f"the running guest has {state.layout.max_vcpus} vCPUs at most",
                "remedy": "shut it down and start it: its next boot has this vCPU",
            }
            if enabling
            else None
        )
    if isinstance(found, LiveState):
        found = found.without_unsafe_plugs
    blocker = (found.cannot_enable if enabling else found.cannot_disable).get(entity.index)
    if blocker is None and len(entity.vcpus) > 1:
        blocker = Blocker(
            PARTIAL_ENTITY,
            f"the machine plugs vCPUs {format_cpulist(entity.vcpus)} as one core",
            "name them all, or use granularity core",
        )
    return None if blocker is None else {"code": blocker.code, "reason": blocker.reason, "remedy": blocker.remedy}


def _differing(state: GuestState) -> frozenset[int] | None:
    """The vCPUs whose live and config states differ, None if one of these is unknown."""
    return None if state.live is None or state.config is None else state.live.enabled ^ state.config.enabled


def _drift(state: GuestState) -> str | None:
    differing = _differing(state)
    return None if differing is None else format_cpulist(differing)


def _record_drift(state: GuestState) -> str | None:
    if state.live is None or state.live.recorded is None:
        return None
    return format_cpulist(state.live.recorded ^ state.live.enabled)
