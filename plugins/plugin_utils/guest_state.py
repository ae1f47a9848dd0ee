# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a guest as the rollout records it: the ids enabled in each scope; and its text in tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist

SCOPES = ("live", "config", "online")

# For each scope, the ids as a cpulist, or None if the guest has no such state.
State = dict[str, "str | None"]


def plain(value: Any) -> Any:
    """Return a deep copy of dictionaries and lists as such, of templates that Ansible renders on access too."""
    if isinstance(value, Mapping):
        return {key: plain(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def state_of(result: Mapping[str, Any], with_online: bool = False) -> State | None:
    """Return the vCPUs enabled in each scope, and those online if ``with_online``; None if the state is unknown."""
    if not result.get("vcpus"):
        return None
    found: State = {}
    for scope in SCOPES:
        known = {vcpu["id"]: vcpu[scope] for vcpu in result["vcpus"] if vcpu[scope] is not None}
        wanted = scope != "online" or with_online
        enabled = [number for number, value in known.items() if value in ("enabled", True)]
        found[scope] = format_cpulist(enabled) if known and wanted else None
    return found


def identity_of(result: Mapping[str, Any]) -> str | None:
    """Return what is the same however a guest was named: its UUID, or the thread of its first vCPU; None if unknown."""
    guest, vcpus = result.get("guest") or {}, result.get("vcpus") or [{}]
    identity = guest.get("uuid") or vcpus[0].get("thread_id")
    return None if identity is None else str(identity)


def ids_of(text: str | None) -> frozenset[int]:
    """Return the ids of a cpulist, none for None."""
    return frozenset(parse_cpulist(text)) if text else frozenset()


def steps_text(steps: Iterable[Mapping[str, Any]]) -> str:
    """Return steps in short: ``plug 4-5, unplug 2 (refused)``."""
    found: dict[tuple[str, str], set[int]] = {}
    for step in steps:
        found.setdefault((step["step"], step["status"]), set()).update(parse_cpulist(step["vcpus"]))
    parts = []
    for (kind, status), ids in found.items():
        parts.append(f"{kind} {format_cpulist(ids)}" + ("" if status in ("planned", "done") else f" ({status})"))
    return ", ".join(parts)


def state_text(state: Mapping[str, Any] | None) -> str:
    """Return a state in short: one cpulist, or one for each scope if they differ."""
    if state is None:
        return "?"
    known: dict[str, str] = {scope: state[scope] for scope in SCOPES if state.get(scope) is not None}
    if len(set(known.values())) == 1:
        return str(next(iter(known.values())))
    return ", ".join(f"{scope} {ids or 'none'}" for scope, ids in known.items()) or "?"
