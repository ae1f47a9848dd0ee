# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a rollout on one hypervisor: what it found, planned and left of each guest, and how to undo just that.

A guest has attempts: each has the state ``before`` it, what was ``planned``, and the state ``after`` it. What an
attempt changed is what is different after it and was planned. An attempt without an ``after``, or with a step that the
guest may still do, is ``open``: the next look at the guest tells what came of it. A revert is an attempt too, so that
what the rollout has changed in all is what all attempts have changed, taken one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist

from .rollout_plan import SCOPES, ids_of, key_of, plan_rows, state_of, told_state, told_steps

# Of one rollout that was completed more than once, as many are kept as there is use for by eye.
_KEPT = 10

Record = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


def begin(record: Mapping[str, Any], rows: Rows, now: str, kind: str = "rollout") -> Record:
    """Return the record with an attempt for each row that is about to change, and its open attempts settled."""
    found = deepcopy(dict(record))
    found.setdefault("guests", {})
    changing = [row for row in rows if row["changed"]]
    if kind == "rollout" and changing and found.get("completed"):
        ended = {name: found.pop(name) for name in ("completed", "guests")}
        found["history"] = [*found.get("history", []), ended][-_KEPT:]
        found["guests"] = {}
    for row in rows:
        guest = found["guests"].get(key_of(row["options"])) if row["options"] else None
        if guest is not None and row["before"] is not None:
            _settle(guest["attempts"], row["before"])
    for row in changing:
        guest = found["guests"].setdefault(
            key_of(row["options"]),
            {"guest": row["guest"], "options": row["options"], "before": row["before"], "attempts": []},
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


def end(record: Mapping[str, Any], rows: Rows, batches: Sequence[Mapping[str, Any]]) -> Record:
    """Return the record with what came of the attempts that ``begin`` began for these rows, as the batches tell it.

    The last one that saw a guest tells its state.
    """
    found = deepcopy(dict(record))
    for row in rows:
        told = [result for batch in batches for result in batch.get("guests") or [] if result["item"] == row["guest"]]
        if not row["changed"] or not told:
            continue
        attempt = found["guests"][key_of(row["options"])]["attempts"][-1]
        by_agent = attempt["before"]["online"] is not None
        after = state_of(told[-1], by_agent)
        steps = [step for result in told for step in result.get("steps") or []]
        failure: Mapping[str, Any] = next((result for result in told if result["failed"]), {})
        attempt.update(
            after=after,
            # What the guest was asked for and has not done, it may still do.
            open=after is None or any(step["status"] in ("pending", "failed") for step in steps),
            steps=told_steps(steps),
            error_code=failure.get("error_code") or "",
            msg=failure.get("msg") or "",
        )
    return found


def changed_guests(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return options for a batch in check mode that only shows the guests there may be something to undo of."""
    wish = {"vcpus": [{"id": "0", "state": "enabled"}]}
    return [
        {**guest["options"], **wish, **({"method": "agent"} if _by_agent(guest) else {"scope": "all"})}
        for guest in record.get("guests", {}).values()
        if guest["attempts"][-1]["open"] or any(_ours(guest["attempts"], scope) for scope in SCOPES)
    ]


def undo(record: Mapping[str, Any], seen: Mapping[str, Any], hypervisor: str) -> dict[str, Any]:
    """Return what undoes the rollout: options of batches by scope, and a row for each guest there is a word to say of.

    ``seen`` is the batch that looked at ``changed_guests``.
    """
    found: dict[str, Any] = {"rows": [], "live": [], "config": [], "online": []}
    guests = changed_guests(record)
    for row in plan_rows(seen, hypervisor, guests, {}) if guests else []:
        if row["blocker"] or row["before"] is None:
            found["rows"].append({**row, "result": f"not reverted: {row['blocker']}"})
            continue
        guest = record["guests"][key_of(row["options"])]
        now = row["before"]
        attempts = deepcopy(guest["attempts"])
        foreign = _foreign(attempts[-1], now)
        _settle(attempts, now)
        ours = {scope: _ours(attempts, scope) for scope in SCOPES}
        if not any(ours.values()):
            continue
        last = attempts[-1]["after"]
        wanted = {
            scope: format_cpulist(ids_of(last[scope]) ^ ours[scope]) if now[scope] is not None else None
            for scope in SCOPES
        }
        told = {**row, "before": now, "now": told_state(now), "planned": wanted, "then": told_state(wanted)}
        if now == wanted:
            found["rows"].append({**told, "result": "as before already"})
        elif foreign:
            found["rows"].append({**told, "then": "", "result": f"left alone: {foreign}"})
        else:
            found["rows"].append({**told, "changed": True, "result": "to be reverted"})
            for scope in SCOPES:
                wish = _wish(now[scope], wanted[scope], scope)
                if wish:
                    options = {**guest["options"], **wish, **_expected(now, scope)}
                    found[scope].append({"guest": row["guest"], "options": options})
    return found


def _by_agent(guest: Mapping[str, Any]) -> bool:
    return any(attempt["before"]["online"] is not None for attempt in guest["attempts"])


def _settle(attempts: Sequence[dict[str, Any]], now: Mapping[str, Any]) -> None:
    """Let the state a guest has now tell what came of its open attempt."""
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
    """Which vCPUs of a scope are other than before through these attempts."""
    found: frozenset[int] = frozenset()
    for attempt in attempts:
        before, planned, after = attempt["before"], attempt["planned"], attempt["after"] or attempt["before"]
        if before[scope] is not None and after[scope] is not None and planned[scope] is not None:
            was = ids_of(before[scope])
            found ^= (was ^ ids_of(after[scope])) & (was ^ ids_of(planned[scope]))
    return found


def _foreign(attempt: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say which scope is not as the last attempt left, or could have left it; nothing where all are."""
    for scope in SCOPES:
        before, planned, after = attempt["before"], attempt["planned"], attempt["after"]
        if before[scope] is None or now[scope] is None:
            continue
        is_now = ids_of(now[scope])
        if not attempt["open"] and is_now != ids_of(after[scope]):
            return f"somebody changed it, {scope} was {after[scope]} after the rollout and is {now[scope]}"
        was = ids_of(before[scope])
        if attempt["open"] and (was ^ is_now) - (was ^ ids_of(planned[scope])):
            return f"somebody changed it, {scope} was {before[scope]} before the rollout and is {now[scope]}"
    return ""


def _wish(now: str | None, wanted: str | None, scope: str) -> dict[str, Any]:
    if now is None or now == wanted:
        return {}
    has, shall = ids_of(now), ids_of(wanted)
    vcpus = [
        {"id": format_cpulist(ids), "state": state}
        for ids, state in ((shall - has, "enabled"), (has - shall, "disabled"))
        if ids
    ]
    how = {"method": "agent"} if scope == "online" else {"scope": scope}
    return {"vcpus": vcpus, **how}


def _expected(now: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """The guard that this very state is what the revert starts from; what goes by the agent has none."""
    return {} if scope == "online" else {"expected": {scope: now[scope]}}
