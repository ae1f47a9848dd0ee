# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drift of a fleet: of each guest, between live and config, libvirt and QEMU, the guest and what is wished."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist

from .rollout_plan import ids_of, state_of

Row = dict[str, Any]


def audit_rows(
    plans: Iterable[Mapping[str, Any]], planned: Mapping[str, Any], looks: Iterable[Mapping[str, Any]], hypervisor: str
) -> list[Row]:
    """Return a row for each guest of a hypervisor.

    ``plans`` are the rows of the guests that are wished for, which the batch ``planned`` in check mode made; ``looks``
    are results of ``vcpu_info``, of these guests or others.
    """
    rows: list[Row] = []
    by_identity: dict[Any, Row] = {}
    results = planned.get("guests") or []
    for number, plan in enumerate(plans):
        result = results[number] if number < len(results) else {}
        row = _row(plan["guest"], hypervisor, result, plan["before"])
        row.update(error_code=plan["blocker"], msg=plan["msg"])
        row["drift"]["inventory"] = plan["steps"]
        rows.append(row)
        by_identity[_identity(result)] = row
    for look in looks:
        rows += _others(look, hypervisor, by_identity)
    return [{**row, "drifts": told_drift(row)} for row in rows]


def told_drift(row: Mapping[str, Any]) -> str:
    """Return the drift of a guest in short, and what kept it from being known."""
    drift = [f"{kind}: {what}" for kind, what in row["drift"].items() if what]
    return ", ".join([*drift, *filter(None, [row["error_code"]])])


def _others(look: Mapping[str, Any], hypervisor: str, by_identity: dict[Any, Row]) -> list[Row]:
    """The guests that this look shows first; what it tells of others is added to their rows."""
    if "guests" not in look:
        where = look.get("item") or "all"
        code = "unreachable" if look.get("unreachable") else look.get("error_code") or "internal"
        failed = {"guest": where, "error_code": code, "msg": look.get("msg") or ""}
        return [_failed(failed, hypervisor)]
    rows = []
    for seen in look["guests"]:
        row = by_identity.get(_identity(seen))
        if row is None:
            guest = seen["guest"]
            row = _row(guest["name"] or guest["uuid"] or "(no name)", hypervisor, seen, state_of(seen, True))
            by_identity[_identity(seen)] = row
            rows.append(row)
        row["drift"]["libvirt"] = seen["drift"]["libvirt"] or ""
    known = {row["guest"] for row in by_identity.values()}
    return rows + [_failed(one, hypervisor) for one in look["failed_guests"] if one["guest"] not in known]


def _row(label: str, hypervisor: str, seen: Mapping[str, Any], state: Mapping[str, Any] | None) -> Row:
    guest = seen.get("guest") or {}
    found = state or {}
    live, config = found.get("live"), found.get("config")
    drift = format_cpulist(ids_of(live) ^ ids_of(config)) if live is not None and config is not None else ""
    return {
        "guest": label,
        "hypervisor": hypervisor,
        "uuid": guest.get("uuid"),
        "state": guest.get("state") or "unknown",
        "live": live,
        "config": config,
        "drift": {"config": drift, "libvirt": "", "inventory": ""},
        "error_code": "",
        "msg": "",
    }


def _failed(told: Mapping[str, Any], hypervisor: str) -> Row:
    row = _row(told["guest"], hypervisor, {}, None)
    row.update(error_code=told["error_code"], msg=told["msg"])
    return row


def _identity(seen: Mapping[str, Any]) -> Any:
    """What is the same however a guest was named: its UUID, or the thread of its first vCPU."""
    guest, vcpus = seen.get("guest") or {}, seen.get("vcpus") or [{}]
    return guest.get("uuid") or vcpus[0].get("thread_id") or object()
