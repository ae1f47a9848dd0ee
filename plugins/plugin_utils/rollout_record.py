# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a rollout on one hypervisor: what each guest was, was to become and became, and how to undo it.

A guest has attempts. Each has the state ``before`` it, the one ``planned``, and the one ``after`` it. What an attempt
changed is what is different after it and was planned. An attempt without an ``after``, or with a step that the guest
may still carry out, is ``open``: the guest's state at the next inspection shows what it changed. A revert is an attempt
too, so that what the rollout has changed is what all attempts have changed, one after the other.

Guests are identified by the key that ``desired.key_of`` makes of their options.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist

from .desired import OF_GUEST, OF_HYPERVISOR
from .guest_layout import UNKNOWN, layout_of
from .guest_state import SCOPES, ids_of, plain, state_of, state_text, steps_text
from .rollout_plan import results_of

# How many completed runs of one rollout the record keeps for its readers.
_KEPT = 10

Record = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


def begin_attempts(record: Mapping[str, Any], rows: Rows, now: str, kind: str = "rollout") -> Record:
    """Return the record with an attempt for each row that is about to change, and its open attempts settled."""
    found: Record = plain(record)
    rows = plain(rows)
    found.setdefault("guests", {})
    changing = [row for row in rows if row["changed"]]
    if kind == "rollout" and changing and found.get("completed"):
        ended = {name: found.pop(name) for name in ("completed", "guests")}
        found["history"] = [*found.get("history", []), ended][-_KEPT:]
        found["guests"] = {}
    for row in rows:
        guest = found["guests"].get(row["key"])
        if guest is not None and row["before"] is not None:
            _settle(guest["attempts"], row["before"])
    for row in changing:
        guest = found["guests"].setdefault(
            row["key"], {"guest": row["guest"], "options": row["options"], "before": row["before"], "attempts": []}
        )
        guest["attempts"].append(
            {
                "kind": kind,
                "started": now,
                "before": row["before"],
                "planned": row["planned"],
                "after": None,
                "open": True,
                "steps": row["steps"],
                "error_code": "",
                "msg": "",
            }
        )
    return found


def end_attempts(record: Mapping[str, Any], rows: Rows, results: Sequence[Mapping[str, Any]]) -> Record:
    """Return the record with the outcome of the attempts that ``begin_attempts`` began for these rows.

    ``results`` are those of ``results_of`` for each batch that was run. The last one that has a guest has its state.
    """
    found: Record = plain(record)
    for row in rows:
        returned = [plain(batch[row["key"]]) for batch in results if row["key"] in batch]
        if not row["changed"] or not returned:
            continue
        attempt = found["guests"][row["key"]]["attempts"][-1]
        by_agent = attempt["before"]["online"] is not None
        after = state_of(returned[-1], by_agent)
        steps = [step for result in returned for step in result.get("steps") or []]
        failure: Mapping[str, Any] = next((result for result in returned if result["failed"]), {})
        attempt.update(
            after=after,
            # What the guest was asked for and has not done, it may still do.
            open=after is None or any(step["status"] in ("pending", "failed") for step in steps),
            steps=steps_text(steps),
            error_code=failure.get("error_code") or "",
            msg=failure.get("msg") or "",
        )
    return found


def changed_guests(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return ``key`` and ``desired`` of each guest the rollout may have changed.

    ``desired`` are options for a batch in check mode, which only reads the guest's state with them.
    """
    probe = {"vcpus": [{"id": "0", "state": "enabled"}]}
    return [
        {
            "key": key,
            "desired": {
                **guest["options"],
                **probe,
                **({"method": "agent"} if _by_agent(guest) else {"scope": "all"}),
            },
        }
        for key, guest in plain(record.get("guests", {})).items()
        if guest["attempts"][-1]["open"] or any(_ours(guest["attempts"], scope) for scope in SCOPES)
    ]


def revert_plan(record: Mapping[str, Any], seen: Mapping[str, Any], hypervisor: str) -> dict[str, Any]:
    """Return what reverts the rollout, from the batch ``seen`` that read the state of the ``changed_guests``.

    ``live``, ``config`` and ``online`` are lists of ``key`` and ``desired``, the options for a batch that reverts this
    scope of the guest. ``rows`` has a row for each guest that is to be reverted, or that cannot be.
    """
    found: dict[str, Any] = {"rows": [], **{scope: [] for scope in SCOPES}}
    guests = changed_guests(record)
    results = results_of(guests, seen)
    for one in guests:
        key, guest = one["key"], plain(record["guests"][one["key"]])
        row = _revert_row(key, guest, hypervisor)
        result = results[key]
        if result["failed"]:
            code = result["error_code"]
            kind = OF_HYPERVISOR if result.get("of_hypervisor") else OF_GUEST
            blocked = {"blocker": code, "blocked_by": kind, "msg": result["msg"], "result": f"not reverted: {code}"}
            found["rows"].append({**row, **blocked})
            continue
        now = state_of(result, _by_agent(guest))
        if now is None:
            continue
        row.update(before=now, now=state_text(now), state=(result.get("guest") or {}).get("state") or "unknown")
        row.update(layout_of(result))
        wanted = _wanted(guest["attempts"], now)
        if wanted is None:
            continue
        foreign = _foreign(guest["attempts"][-1], now)
        row.update(planned=wanted, then=state_text(wanted))
        if now == wanted:
            found["rows"].append({**row, "result": "as before already"})
        elif foreign:
            found["rows"].append({**row, "then": "", "result": f"left alone: {foreign}"})
        else:
            found["rows"].append({**row, "changed": True})
            for scope in SCOPES:
                if now[scope] is not None and now[scope] != wanted[scope]:
                    found[scope].append({"key": key, "desired": {**guest["options"], **_revert(now, wanted, scope)}})
    return found


def config_to_revert(undo: Mapping[str, Any], live: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return ``config`` of a ``revert_plan`` without the guests that the batch ``live`` did not revert.

    vCPUs that stay enabled live stay enabled in config too.
    """
    failed = {key for key, result in results_of(undo["live"], live).items() if result["failed"]}
    return [plain(one) for one in undo["config"] if one["key"] not in failed]


def _revert_row(key: str, guest: Mapping[str, Any], hypervisor: str) -> dict[str, Any]:
    return {
        "key": key,
        "guest": guest["guest"],
        "hypervisor": hypervisor,
        "options": guest["options"],
        "state": "unknown",
        **UNKNOWN,
        "before": None,
        "planned": None,
        "now": "?",
        "then": "",
        "steps": "",
        "changed": False,
        "blocker": "",
        "blocked_by": "",
        "msg": "",
    }


def _by_agent(guest: Mapping[str, Any]) -> bool:
    return any(attempt["before"]["online"] is not None for attempt in guest["attempts"])


def _wanted(attempts: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> dict[str, str | None] | None:
    """The state without these attempts, of a guest in the state ``now``; None if they changed nothing."""
    settled = plain(attempts)
    _settle(settled, now)
    ours = {scope: _ours(settled, scope) for scope in SCOPES}
    if not any(ours.values()):
        return None
    last = settled[-1]["after"]
    return {
        scope: format_cpulist(ids_of(last[scope]) ^ ours[scope]) if now[scope] is not None else None for scope in SCOPES
    }


def _settle(attempts: Sequence[dict[str, Any]], now: Mapping[str, Any]) -> None:
    """Conclude from the state a guest has now what its open attempt changed."""
    attempt = attempts[-1]
    if not attempt["open"]:
        return
    before, planned = attempt["before"], attempt["planned"]
    after: dict[str, Any] = {}
    for scope in SCOPES:
        if before[scope] is None or now.get(scope) is None:
            after[scope] = before[scope]
            continue
        was, could = ids_of(before[scope]), ids_of(before[scope]) ^ ids_of(planned[scope])
        after[scope] = format_cpulist(was ^ ((was ^ ids_of(now[scope])) & could))
    attempt.update(after=after, open=False)


def _ours(attempts: Iterable[Mapping[str, Any]], scope: str) -> frozenset[int]:
    """The vCPUs of a scope that these attempts changed in all."""
    found: frozenset[int] = frozenset()
    for attempt in attempts:
        before, planned, after = attempt["before"], attempt["planned"], attempt["after"] or attempt["before"]
        if before[scope] is not None and after[scope] is not None and planned[scope] is not None:
            was = ids_of(before[scope])
            found ^= (was ^ ids_of(after[scope])) & (was ^ ids_of(planned[scope]))
    return found


def _foreign(attempt: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which scope was changed by others since the last attempt, in words; empty if none."""
    for scope in SCOPES:
        before, planned, after = attempt["before"], attempt["planned"], attempt["after"]
        if before[scope] is None or now[scope] is None:
            continue
        is_now = ids_of(now[scope])
        if not attempt["open"] and is_now != ids_of(after[scope]):
            return f"changed since, {scope} was {after[scope] or 'none'} after the rollout, is {now[scope] or 'none'}"
        was = ids_of(before[scope])
        if attempt["open"] and (was ^ is_now) - (was ^ ids_of(planned[scope])):
            return f"changed since, {scope} was {before[scope] or 'none'} before the rollout, is {now[scope] or 'none'}"
    return ""


def _revert(now: Mapping[str, Any], wanted: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """The options that bring a scope from ``now`` to ``wanted``, and change nothing if it is no longer as in ``now``.

    There is no such guard for the agent.
    """
    has, shall = ids_of(now[scope]), ids_of(wanted[scope])
    vcpus = [
        {"id": format_cpulist(ids), "state": state}
        for ids, state in ((shall - has, "enabled"), (has - shall, "disabled"))
        if ids
    ]
    how = {"method": "agent"} if scope == "online" else {"scope": scope, "expected": {scope: now[scope]}}
    return {"vcpus": vcpus, **how}
