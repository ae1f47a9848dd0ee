# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two and three runs at once on one guest: no update is lost, and each run reports exactly its own changes."""

from __future__ import annotations

import time
from random import Random
from typing import Any

from endurance import runs
from endurance.kills import check_recovery, desired, wish
from endurance.runs import Outcome
from endurance.subjects import Seen, Subject, calm

# The vCPUs of each run, where they do not share any.
SHARES = ((1, 2), (3, 4), (5, 6))


def race_apart(subject: Subject, random: Random) -> str:
    """Have runs at once change vCPUs of their own; each has to reach its state, and report whether it changed it."""
    shares = SHARES[: random.choice((2, 3))]
    before = calm(subject)
    wanted = [{vcpu: random.random() < 0.5 for vcpu in share} for share in shares]
    outcomes = _at_once(subject, random, [{"vcpus": [_entry(*item) for item in want.items()]} for want in wanted])
    after = calm(subject)
    for want, outcome in zip(wanted, outcomes):
        result = outcome.result
        assert result is not None, outcome
        assert result.get("error_code") is None, result
        for scope in after.enabled:
            assert {vcpu: vcpu in scope for vcpu in want} == want, f"an update was lost: {want}, {after}, {result}"
        changed = _of(before, want) != _of(after, want)
        assert result["changed"] == changed, (
            f"changed is {result['changed']}, of {list(want)} {before} {after} {result}"
        )
    assert not subject.leftovers(), subject.leftovers()
    return f"{len(shares)} runs, different vCPUs"


def race_together(subject: Subject, random: Random) -> str:
    """Have runs at once bring the guest to one state; it is reached, and a change is reported by at least one."""
    before = calm(subject)
    wanted = wish(random, before)
    options = {"enabled": desired(subject, wanted)["enabled"]}
    count = random.choice((2, 3))
    results = [outcome.result for outcome in _at_once(subject, random, [options] * count)]
    assert all(result is not None and result.get("error_code") is None for result in results), results
    after = calm(subject)
    assert after.enabled == (frozenset(wanted), frozenset(wanted)), f"{wanted}, {after}, {results}"
    changed = [result for result in results if result is not None and result["changed"]]
    assert bool(changed) == (before != after), f"{before}, {after}, {results}"
    check_recovery(subject, after, wanted)
    return f"{count} runs, the same state"


def _entry(vcpu: int, is_enabled: bool) -> dict[str, Any]:
    return {"id": str(vcpu), "state": "enabled" if is_enabled else "disabled"}


def _of(seen: Seen, vcpus: dict[int, bool]) -> list[frozenset[int]]:
    return [scope & vcpus.keys() for scope in seen.enabled]


def _at_once(subject: Subject, random: Random, wishes: list[dict[str, Any]]) -> list[Outcome]:
    common = {**subject.source, "force": True, "details": "full"}
    started = []
    for options in wishes:
        started.append(runs.start({**common, **options}, subject.client))
        time.sleep(random.choice((0.0, random.uniform(0, 0.1))))
    outcomes = [run.end() for run in started]
    for outcome in outcomes:
        outcome.check()
    return outcomes
