# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reports show of a guest besides its state: its machine, its cores and nodes, and how many vCPUs it could add."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.model import LEVELS

from .guest_state import ids_of, state_of

# The positions that a core has: those of all levels that contain it, and its own.
OF_A_CORE = ("node", *LEVELS[: LEVELS.index("thread")])

# What a guest has of which nothing is known.
UNKNOWN: Mapping[str, Any] = {"arch": None, "machine": None, "maximum": {}, "cores": []}


def layout_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``arch``, ``machine``, ``maximum`` and ``cores`` of a guest, from a module's result.

    ``maximum`` has, for each scope that the guest has, how many vCPUs can be enabled there. Each of ``cores`` has its
    positions, without the levels that the machine does not have, and its ``vcpus`` as a cpulist.
    """
    guest = result.get("guest") or {}
    return {
        "arch": guest.get("arch"),
        "machine": guest.get("machine"),
        "maximum": _maximum(result),
        "cores": _cores(result.get("vcpus") or []),
    }


def headroom_of(maximum: Mapping[str, int], state: Mapping[str, Any] | None) -> dict[str, int | None]:
    """Return how many vCPUs more can be enabled in each scope, None for a scope that the guest does not have."""
    known = state or {}
    return {
        scope: maximum[scope] - len(ids_of(known[scope])) if scope in maximum and known.get(scope) is not None else None
        for scope in ("live", "config")
    }


def _maximum(result: Mapping[str, Any]) -> dict[str, int]:
    state = state_of(result) or {}
    headroom = result.get("headroom") or {}
    found = {}
    for scope in ("live", "config"):
        if state.get(scope) is not None:
            left = headroom.get(scope)
            found[scope] = len(result["vcpus"]) if left is None else left + len(ids_of(state[scope]))
    return found


def _cores(vcpus: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cores in the order of their vCPUs; where the machine reports no cores, each vCPU is one."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for vcpu in vcpus:
        place = tuple(vcpu.get(level) for level in OF_A_CORE)
        alone = vcpu["id"] if vcpu.get("core") is None else None
        found.setdefault((*place, alone), []).append(vcpu["id"])
    return [
        {
            **{level: number for level, number in zip(OF_A_CORE, place) if number is not None},
            "vcpus": format_cpulist(ids),
        }
        for place, ids in found.items()
    ]
