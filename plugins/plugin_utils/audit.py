# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drift of guests, in rows: of live, of libvirt's record, of threads from cputune, and from the desired state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist

from .desired import Row, key_of, unambiguous
from .guest_layout import UNKNOWN, headroom_of, layout_of
from .guest_state import identity_of, ids_of, plain, state_of
from .rollout_plan import failure_of

# The JSON file and the page have the headroom of each guest.
_MOST_NAMED = 10


def audit_report(
    plans: Iterable[Row], inspections: Iterable[Mapping[str, Any]], hypervisor: str
) -> dict[str, list[Row]]:
    """Return ``guests``, a row for each guest of a hypervisor, and ``failures``, one for each place without a result.

    ``plans`` are the rows of ``plan_rows`` of the guests that have a desired state. ``inspections`` are results of
    ``vcpu_info``, failed or not; those of a libvirt daemon have its URI as ``item``.
    """
    guests = [_of_plan(plan) for plan in plans]
    failures = []
    for inspection in plain(inspections):
        if "guests" in inspection:
            guests += _of_inspection(inspection, guests, hypervisor)
        else:
            failures.append({"hypervisor": hypervisor, "place": _place(inspection), **failure_of(inspection)})
    rows = [{**row, "drifts": drift_text(row)} for row in unambiguous(guests)]
    return {"guests": [_public(row) for row in rows], "failures": failures}


def drift_text(row: Mapping[str, Any]) -> str:
    """Return the drift of a guest in short, and the error code if it could not be found out."""
    drift = [f"{kind}: {what}" for kind, what in row["drift"].items() if what]
    return ", ".join([*drift, *filter(None, [row["error_code"]])])


def audit_problems(guests: Iterable[Row], failures: Iterable[Row]) -> list[str]:
    """Return a line for each guest with a drift, and one for each place without a result."""
    return [
        *(f"{row['guest']} on {row['hypervisor']}: {row['drifts']}" for row in guests if row["drifts"]),
        *audit_failures(failures),
    ]


def audit_failures(failures: Iterable[Row]) -> list[str]:
    """Return a line for each place without a result."""
    return [f"{one['place']} on {one['hypervisor']}: {one['error_code']}: {one['msg']}" for one in failures]


def audit_full(guests: Iterable[Row]) -> list[str]:
    """Return a line with the guests in which no further vCPU can be enabled, live or at the next boot, if any."""
    full = [f"{row['guest']} on {row['hypervisor']}" for row in guests if 0 in row["headroom"].values()]
    if not full:
        return []
    more = f" and {len(full) - _MOST_NAMED} more" if len(full) > _MOST_NAMED else ""
    return [f"without headroom (option maximum): {', '.join(full[:_MOST_NAMED])}{more}"]


def _of_plan(plan: Row) -> Row:
    row = _row(plan["key"], plan["guest"], plan["hypervisor"], plan)
    row["drift"]["desired"] = plan["steps"]
    row["planned"] = plan["planned"]
    return {**row, "error_code": plan["blocker"], "msg": plan["msg"]}


def _of_inspection(inspection: Mapping[str, Any], known: list[Row], hypervisor: str) -> list[Row]:
    """The rows of guests that are not ``known`` yet; the drift of the others is added to their rows."""
    found = []
    by_identity = {row["identity"]: row for row in known if row["identity"] is not None}
    keys = {row["key"] for row in known}
    for seen in inspection["guests"]:
        identity = identity_of(seen)
        row = by_identity.get(identity)
        if row is None:
            guest = seen["guest"]
            label = guest["name"] or guest["uuid"] or "(no name)"
            state = {"before": state_of(seen), "identity": identity, **guest, **layout_of(seen)}
            row = _row(f"{label} at {_place(inspection)}", label, hypervisor, state)
            by_identity[identity] = row
            found.append(row)
        # An inspection by a monitor alone has no agent.
        row["online"] = (state_of(seen, with_online=True) or {}).get("online") or row["online"]
        for kind in ("libvirt", "placement"):
            row["drift"][kind] = seen["drift"][kind] or ""
    for failed in inspection["failed_guests"]:
        named = (
            {"name": failed["guest"], "uri": inspection["item"]}
            if "item" in inspection
            else {"qmp_socket": failed["guest"]}
        )
        key = key_of(named)
        if key not in keys:
            row = _row(key, failed["guest"], hypervisor, {})
            found.append({**row, "error_code": failed["error_code"], "msg": failed["msg"]})
    return found


def _place(inspection: Mapping[str, Any]) -> str:
    return str(inspection.get("item", "audit_qmp_sockets"))


def _row(key: str, label: str, hypervisor: str, seen: Mapping[str, Any]) -> Row:
    state = seen.get("before") or {}
    live, config = state.get("live"), state.get("config")
    drift = format_cpulist(ids_of(live) ^ ids_of(config)) if live is not None and config is not None else ""
    return {
        "key": key,
        "identity": seen.get("identity"),
        "guest": label,
        "hypervisor": hypervisor,
        "uuid": seen.get("uuid"),
        **{name: seen.get(name, unknown) for name, unknown in UNKNOWN.items()},
        "state": seen.get("state") or "unknown",
        "live": live,
        "config": config,
        "online": seen.get("online"),
        "planned": None,
        "drift": {"config": drift, "libvirt": "", "placement": "", "desired": ""},
        "error_code": "",
        "msg": "",
    }


def _public(row: Row) -> Row:
    shown = {name: value for name, value in row.items() if name not in ("key", "identity", "maximum")}
    return {**shown, "headroom": headroom_of(row["maximum"], row)}
