# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet in rows, one for each guest: how it is, how it shall be, what is in the way; and rows as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import guest_ref

SCOPES = ("live", "config", "online")

# What names a guest, and how it is reached, whatever is wanted of it.
_NAMING = ("name", "uri", "ask_qemu", "qmp_socket", "agent_socket", "domain_xml", "probe", "emulator", "timeout")
_STEPS = {
    "live": {"plug": True, "unplug": False},
    "config": {"enable": True, "disable": False},
    "online": {"online": True, "offline": False},
}

State = dict[str, "str | None"]


def plan_rows(
    batch: Mapping[str, Any], hypervisor: str, guests: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return a row for each guest that a batch in check mode was about; one for all where the batch itself failed."""
    told = batch.get("guests") or []
    if len(told) != len(guests):
        code = "unreachable" if batch.get("unreachable") else str(batch.get("error_code") or "internal")
        return [_row("(all)", hypervisor, {}, None, None, "", code, str(batch.get("msg") or "no batch was run"))]
    return [_plan_row(result, hypervisor, guest, defaults) for result, guest in zip(told, guests)]


def result_rows(
    rows: Sequence[Mapping[str, Any]], batches: Sequence[Mapping[str, Any]], done: str
) -> list[dict[str, Any]]:
    """Return the rows with what came of each: ``result``, the steps that were taken, and ``failed``."""
    return [_result_row(row, batches, done) for row in rows]


def state_of(result: Mapping[str, Any], with_online: bool = False) -> State | None:
    """Return the vCPUs enabled in each scope, and online where that is asked for; None where nothing was seen."""
    if not result.get("vcpus"):
        return None
    found: State = {}
    for scope in SCOPES:
        told = {vcpu["id"]: vcpu[scope] for vcpu in result["vcpus"] if vcpu[scope] is not None}
        wanted = scope != "online" or with_online
        enabled = [number for number, value in told.items() if value in ("enabled", True)]
        found[scope] = format_cpulist(enabled) if told and wanted else None
    return found


def key_of(options: Mapping[str, Any]) -> str:
    """Return what tells a guest from all others of a hypervisor."""
    label = guest_ref(options).label
    return f"{label} at {options.get('uri', 'qemu:///system')}" if options.get("name") is not None else label


def ids_of(text: str | None) -> frozenset[int]:
    """Return the ids of a list in text, none for None."""
    return frozenset(parse_cpulist(text)) if text else frozenset()


def told_steps(steps: Iterable[Mapping[str, Any]]) -> str:
    """Return steps in short: ``plug 4-5, unplug 2 (refused)``."""
    found: dict[tuple[str, str], set[int]] = {}
    for step in steps:
        found.setdefault((step["step"], step["status"]), set()).update(parse_cpulist(step["vcpus"]))
    parts = []
    for (kind, status), ids in found.items():
        parts.append(f"{kind} {format_cpulist(ids)}" + ("" if status in ("planned", "done") else f" ({status})"))
    return ", ".join(parts)


def told_state(state: Mapping[str, Any] | None) -> str:
    """Return the vCPUs of a state in short, each scope by its name where they differ."""
    if state is None:
        return "?"
    known: dict[str, str] = {scope: state[scope] for scope in SCOPES if state.get(scope) is not None}
    if len(set(known.values())) == 1:
        return str(next(iter(known.values())))
    return ", ".join(f"{scope} {ids or 'none'}" for scope, ids in known.items()) or "?"


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return a table: a headline, a rule and a line for each row, where None is a dash."""
    cells = [["-" if row.get(column, "") is None else str(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(line[number]) for line in [list(columns), *cells]) for number in range(len(columns))]
    lines = [list(columns), ["─" * width for width in widths], *cells]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths)).rstrip() for line in lines)


def _plan_row(
    result: Mapping[str, Any], hypervisor: str, guest: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    options = {**defaults, **guest}
    planned = state_of(result, options.get("method") == "agent")
    steps = result.get("steps") or []
    before = planned
    if planned is not None and not result["failed"]:
        before = {scope: _before(scope, planned[scope], steps) for scope in SCOPES}
    agent = any(vcpu["online"] is not None for vcpu in result.get("vcpus") or [])
    apply = dict(guest)
    if before is not None and any(before[scope] is not None for scope in ("live", "config")):
        apply["expected"] = {scope: before[scope] for scope in ("live", "config") if before[scope]}
    if agent and "guest_online" not in options and options.get("method") != "agent":
        apply["guest_online"] = "verify"
    return {
        **_row(
            result["item"],
            hypervisor,
            {way: options[way] for way in _NAMING if options.get(way) is not None},
            before,
            planned,
            "" if result["failed"] else told_steps(steps),
            result.get("error_code") or "",
            result.get("msg") or "",
        ),
        "state": (result.get("guest") or {}).get("state") or "unknown",
        "changed": bool(result["changed"]) and not result["failed"],
        "apply": apply,
    }


def _result_row(row: Mapping[str, Any], batches: Sequence[Mapping[str, Any]], done: str) -> dict[str, Any]:
    told = [result for batch in batches for result in batch.get("guests") or [] if result["item"] == row["guest"]]
    failures = [result for result in told if result["failed"]]
    steps = told_steps(step for result in told for step in result.get("steps") or [])
    found = {**row, "steps": steps, "failed": bool(failures)}
    if row["blocker"] and not told:
        # Only what is to be undone has a result already.
        result = row.get("result") or f"left out: {row['blocker']}"
        return {**found, "result": result, "then": "", "failed": "result" in row}
    if failures:
        reached = told_state(state_of(failures[0]))
        return {**found, "result": f"failed: {failures[0]['error_code']}", "then": reached, "msg": failures[0]["msg"]}
    if any(result["skipped"] for result in told):
        return {**found, "result": "not begun", "then": ""}
    if not row["changed"]:
        return {**found, "result": row.get("result") or "as wished"}
    return {**found, "result": done if told else "not known", "then": row["then"] if told else "?", "failed": not told}


def _row(
    guest: str,
    hypervisor: str,
    options: Mapping[str, Any],
    before: State | None,
    planned: State | None,
    steps: str,
    error_code: str,
    msg: str,
) -> dict[str, Any]:
    return {
        "guest": guest,
        "hypervisor": hypervisor,
        "options": dict(options),
        "state": "unknown",
        "before": before,
        "planned": planned,
        "now": told_state(before),
        "then": told_state(planned),
        "steps": steps,
        "changed": False,
        "apply": {},
        "blocker": error_code,
        "msg": msg,
    }


def _before(scope: str, planned: str | None, steps: Iterable[Mapping[str, Any]]) -> str | None:
    """What a scope has before these steps, which lead to ``planned``."""
    if planned is None:
        return None
    found = set(ids_of(planned))
    for step in steps:
        adds = _STEPS[scope].get(step["step"])
        if adds is not None:
            (found.difference_update if adds else found.update)(parse_cpulist(step["vcpus"]))
    return format_cpulist(found)
