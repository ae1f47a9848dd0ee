# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout in rows, one for each guest: how it is, how it shall be, what prevents it, and the outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import BACKEND_MISSING, INTERNAL, printable

from .desired import OF_GUEST, OF_HYPERVISOR, OF_OPTIONS, Row, unambiguous
from .guest_layout import layout_of
from .guest_state import SCOPES, State, identity_of, ids_of, plain, state_of, state_text, steps_text

# Of each scope, the steps that change it, and whether they add to it.
_STEPS = {
    "live": {"plug": True, "unplug": False},
    "config": {"enable": True, "disable": False},
    "online": {"online": True, "offline": False},
}

# Failures of a guest that are not the guest's: what the hypervisor lacks, or a defect of the collection.
_NOT_THE_GUESTS = (BACKEND_MISSING, INTERNAL)

# Ansible's own message may have many lines, and what it printed of a module before that is not JSON.
_LONGEST_MESSAGE = 500


def plan_rows(rows: Sequence[Row], batch: Mapping[str, Any]) -> list[Row]:
    """Return the rows of ``desired_rows`` with what a batch in check mode planned for those without a blocker."""
    results = results_of([row for row in rows if not row["blocker"]], batch)
    return unambiguous([_planned(row, results[row["key"]]) if row["key"] in results else row for row in rows])


def results_of(rows: Sequence[Mapping[str, Any]], batch: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the results of a batch by the guests' keys, none if the batch was skipped.

    ``rows`` are those whose options were passed to it, in order; a result itself only has the name of its guest, which
    another guest of the hypervisor may have too. If the batch failed before it reached its guests, each has failed.
    """
    if batch.get("skipped"):
        return {}
    guests = batch.get("guests") or []
    if len(guests) == len(rows):
        return {row["key"]: guest for row, guest in zip(rows, guests)}
    failure = failure_of(batch)
    failed = {"failed": True, "skipped": False, "changed": False, "of_hypervisor": True, **failure}
    return {row["key"]: failed for row in rows}


def failure_of(result: Mapping[str, Any]) -> dict[str, str]:
    """Return ``error_code`` and ``msg`` of a module that failed as a whole, or that Ansible could not run at all."""
    code = "unreachable" if result.get("unreachable") else str(result.get("error_code") or "failed")
    said = [str(result.get("msg") or "")]
    if code == "failed":
        # Where a Python does not start, the reason is in the output only.
        said += [str(result.get(output) or "") for output in ("module_stderr", "module_stdout")]
    text = printable("; ".join(one.strip() for one in said if one.strip()), _LONGEST_MESSAGE)
    return {"error_code": code, "msg": text or "the module did not run"}


def latest_rows(hosts: Iterable[Mapping[str, Any]], *results: str) -> list[Row]:
    """Return the rows of each host, from the first of these registered results that has rows."""
    found: list[Row] = []
    for host in hosts:
        rows = (host[result]["rows"] for result in results if result in host and "rows" in host[result])
        found += plain(next(rows, []))
    return found


def problems(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each guest that is blocked or failed, and one for each hypervisor that failed as a whole."""
    guests_of: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        where = row["hypervisor"] if row["blocked_by"] == OF_HYPERVISOR else f"{row['guest']} on {row['hypervisor']}"
        guests_of.setdefault((where, row["msg"] or row["blocker"]), []).append(row["guest"])
    return [
        f"{where}: {text}" if len(guests) == 1 else f"{where} ({len(guests)} guests): {text}"
        for (where, text), guests in guests_of.items()
    ]


def outcome_rows(rows: Sequence[Row], results: Sequence[Mapping[str, Any]], done: str) -> list[Row]:
    """Return the rows with their outcome: ``result``, ``failed``, and the steps that were taken.

    ``results`` are those of ``results_of`` for each batch that was run, none if none was. ``done`` is the result of a
    guest that was changed without a failure. ``after`` is the state that the guest has then, None if it is unknown.
    """
    return [_outcome(row, results, done) for row in rows]


def _planned(row: Row, result: Mapping[str, Any]) -> Row:
    """The row with what a batch in check mode returned of its guest."""
    failed = bool(result["failed"])
    planned = state_of(result, row["method"] == "agent")
    steps = [] if failed else result.get("steps") or []
    before = planned
    if planned is not None and not failed:
        before = {scope: _before(scope, planned[scope], steps) for scope in SCOPES}
    guest = result.get("guest") or {}
    code = result.get("error_code") or ""
    return {
        **row,
        "guest": row["host"] or guest.get("name") or row["guest"],
        "before": before,
        "planned": planned,
        "now": state_text(before),
        "then": "" if failed else state_text(planned),
        "steps": steps_text(steps),
        "blocker": code,
        "blocked_by": _blocked_by(result),
        "msg": result.get("msg") or "",
        "state": guest.get("state") or "unknown",
        "uuid": guest.get("uuid"),
        "identity": identity_of(result),
        "online": _online(result, steps),
        **layout_of(result),
        "changed": bool(result["changed"]) and not failed,
        "apply": {**row["desired"], **_guards(before), **_proof(row, result)},
    }


def _online(result: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]) -> str | None:
    """The vCPUs that the guest OS uses before these steps, also where the desired state is not one of the agent."""
    planned = state_of(result, with_online=True) or {}
    online, live = (_before(scope, planned.get(scope), steps) for scope in ("online", "live"))
    return None if online is None else format_cpulist(ids_of(online) & ids_of(live))


def _blocked_by(result: Mapping[str, Any]) -> str:
    if not result["failed"]:
        return ""
    return OF_HYPERVISOR if result.get("of_hypervisor") or result["error_code"] in _NOT_THE_GUESTS else OF_GUEST


def _guards(before: State | None) -> dict[str, Any]:
    """The option that lets a batch change a guest only while it is as it was planned."""
    expected = {scope: before[scope] for scope in ("live", "config") if before[scope]} if before is not None else {}
    return {"expected": expected} if expected else {}


def _proof(row: Row, result: Mapping[str, Any]) -> dict[str, Any]:
    """The option that demands that the guest's own system uses the vCPUs, where it has an agent."""
    agent = any(vcpu["online"] is not None for vcpu in result.get("vcpus") or [])
    return {"guest_online": "verify"} if agent and row["guest_online"] is None and row["method"] != "agent" else {}


def _outcome(row: Row, batches: Sequence[Mapping[str, Any]], done: str) -> Row:
    results = [batch[row["key"]] for batch in batches if row["key"] in batch]
    failures = [result for result in results if result["failed"]]
    found = {
        **row,
        "failed": False,
        "steps": steps_text(step for one in results for step in one.get("steps") or []),
        "after": _after(results),
    }
    if failures:
        reached = state_text(state_of(failures[0]))
        return {
            **found,
            "failed": True,
            "then": reached,
            "result": f"failed: {failures[0]['error_code']}",
            "error_code": failures[0]["error_code"],
            "blocked_by": _blocked_by(failures[0]),
            "msg": failures[0]["msg"],
        }
    if not row["changed"]:
        return {**found, **_unchanged(row)}
    if not results or any(result["skipped"] for result in results):
        return {**found, "then": "", "result": "not started"}
    return {**found, "result": done}


def _after(results: Sequence[Mapping[str, Any]]) -> State | None:
    """The state after the last batch; None if that is unknown, or if its steps are only planned."""
    if not results or any(step["status"] == "planned" for step in results[-1].get("steps") or []):
        return None
    return state_of(results[-1], with_online=True)


def _unchanged(row: Row) -> dict[str, Any]:
    """The outcome of a guest that no batch was to change; that of a revert is in the row already."""
    if "result" in row:
        return {"failed": bool(row["blocker"]), "result": row["result"]}
    if row["blocked_by"] == OF_OPTIONS:
        return {"failed": True, "result": "failed: invalid options"}
    if row["blocked_by"] == OF_HYPERVISOR:
        return {"failed": True, "result": f"failed: {row['blocker']}"}
    if row["blocker"]:
        return {"result": f"left out: {row['blocker']}"}
    return {"result": "as desired"}


def _before(scope: str, planned: str | None, steps: Iterable[Mapping[str, Any]]) -> str | None:
    """The ids of a scope before these steps, which lead to ``planned``."""
    if planned is None:
        return None
    found = set(ids_of(planned))
    for step in steps:
        adds = _STEPS[scope].get(step["step"])
        if adds is not None and not step["makes_hotpluggable"]:
            (found.difference_update if adds else found.update)(parse_cpulist(step["vcpus"]))
    return format_cpulist(found)
