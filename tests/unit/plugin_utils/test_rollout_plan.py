# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan and the outcome of a rollout in rows, without any guest."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.plugin_utils.guest_state import state_text
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_plan import (
    outcome_rows,
    plan_rows,
    problems,
    results_of,
)

from ..support.rollouts import SOCKET, WEB1, desired, failure, planned, result

UNREACHABLE = {"unreachable": True, "msg": "no route"}
TWO = ({"name": "web1", "uri": "qemu:///system", "count": 4}, {"name": "web1", "uri": "qemu:///session", "count": 4})


def outcome(rows: list[dict[str, Any]], *batches: dict[str, Any], done: str = "changed") -> list[dict[str, Any]]:
    return outcome_rows(rows, [results_of(rows, batch) for batch in batches], done)


def test_a_plan_has_the_state_before_its_steps() -> None:
    (row,) = planned("0123", "plug 2 planned", "plug 3 planned", "enable 2 planned", config="012")
    assert row["before"] == {"live": "0-1", "config": "0-1", "online": None}
    assert (row["now"], row["then"], row["steps"]) == ("0-1", "live 0-3, config 0-2", "plug 2-3, enable 2")
    assert row["apply"] == {**WEB1, "expected": {"live": "0-1", "config": "0-1"}}


def test_a_step_that_only_makes_a_vcpu_hotpluggable_does_not_change_the_state_before() -> None:
    (row,) = planned("01", "enable 1 planned hotpluggable", config="01")
    assert row["before"] == {"live": "0-1", "config": "0-1", "online": None}
    assert row["steps"] == "enable 1"


def test_a_guest_that_failed_has_a_blocker_and_no_steps() -> None:
    (row,) = planned("01", failed=True, error_code="conflicting_request", msg="why")
    assert (row["blocker"], row["blocked_by"], row["msg"]) == ("conflicting_request", "guest", "why")
    assert (row["steps"], row["then"], row["changed"]) == ("", "", False)
    assert problems([row]) == ["web1 on h1: why"]


@pytest.mark.parametrize("code", ["backend_missing", "internal"])
def test_a_missing_library_of_the_hypervisor_is_no_blocker_of_a_guest(code: str) -> None:
    (row,) = plan_rows(desired(WEB1), {"guests": [failure(code)]})
    assert (row["blocked_by"], problems([row])) == ("hypervisor", ["h1: why"])


@pytest.mark.parametrize(
    ("batch", "code", "msg"),
    [
        (UNREACHABLE, "unreachable", "no route"),
        ({"error_code": "conflicting_request", "guests": [], "msg": "too many"}, "conflicting_request", "too many"),
        (
            {"failed": True, "rc": 127, "msg": "not found", "module_stdout": "/bin/sh: 1: /nowhere: not\nfound\n"},
            "failed",
            "not found; /bin/sh: 1: /nowhere: not found",
        ),
        ({}, "failed", "the module did not run"),
    ],
    ids=["unreachable", "refused", "no interpreter", "nothing"],
)
def test_a_batch_that_fails_as_a_whole_blocks_each_of_its_guests(batch: Any, code: str, msg: str) -> None:
    rows = plan_rows(desired(WEB1, {"name": "db", "count": 2}), batch)
    assert [row["guest"] for row in rows] == [SOCKET, "db"]
    assert [(row["blocker"], row["blocked_by"], row["msg"]) for row in rows] == [(code, "hypervisor", msg)] * 2
    assert problems(rows) == [f"h1 (2 guests): {msg}"]


def test_guests_with_invalid_options_keep_their_blocker_and_have_no_plan() -> None:
    rows = plan_rows(desired({"name": "db", "cuont": 2}, WEB1), {"guests": [result("0123", "plug 3 planned")]})
    assert [row["blocked_by"] for row in rows] == ["options", ""]
    assert [row["steps"] for row in rows] == ["", "plug 3"]


def test_guests_of_one_name_at_two_uris_are_distinguished() -> None:
    batch = {"guests": [result("012", "plug 2 planned"), result("01234", "plug 4 planned")]}
    rows = plan_rows(desired(*TWO), batch)
    assert [row["guest"] for row in rows] == ["web1 (web1 at qemu:///system)", "web1 (web1 at qemu:///session)"]
    assert [row["now"] for row in rows] == ["0-1", "0-3"]
    done = {"guests": [result("012", "plug 2 done"), failure("monitor_busy", "taken")]}
    assert [row["result"] for row in outcome(rows, done)] == ["changed", "failed: monitor_busy"]


def test_the_vcpus_of_a_guest_with_an_agent_are_verified() -> None:
    seen = result("01")
    seen["vcpus"][0]["online"] = True
    assert plan_rows(desired(WEB1), {"guests": [seen]})[0]["apply"]["guest_online"] == "verify"
    for defaults in ({"guest_online": "ignore"}, {"method": "agent"}):
        assert "guest_online" not in plan_rows(desired(WEB1, defaults=defaults), {"guests": [seen]})[0]["apply"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (result("0123", "plug 2 done", "plug 3 done"), "changed"),
        (result("01", skipped=True), "not started"),
        (result("01", "plug 2 failed", failed=True, error_code="internal"), "failed: internal"),
    ],
    ids=["changed", "not started", "failed"],
)
def test_the_outcome_of_a_guest_is_that_of_its_batch(found: dict[str, Any], expected: str) -> None:
    rows = planned("0123", "plug 2 planned", "plug 3 planned")
    (row,) = outcome(rows, {"guests": [found]})
    assert (row["result"], row["failed"]) == (expected, found["failed"])


def test_a_guest_that_no_batch_was_run_for_is_not_started() -> None:
    rows = planned("0123", "plug 2 planned")
    assert [row["result"] for row in (*outcome(rows), *outcome(rows, {"skipped": True}))] == ["not started"] * 2


def test_a_guest_whose_hypervisor_became_unreachable_has_failed() -> None:
    (row,) = outcome(planned("0123", "plug 2 planned"), UNREACHABLE)
    assert (row["result"], row["then"], row["failed"]) == ("failed: unreachable", "?", True)
    assert problems([row]) == ["h1: no route"]


def test_only_a_guest_with_its_own_blocker_is_left_out() -> None:
    rows = plan_rows(desired(WEB1, {"name": "db", "cuont": 2}), {"guests": [failure("guest_not_found")]})
    rows += plan_rows(desired(WEB1), UNREACHABLE)
    assert [(row["result"], row["failed"]) for row in outcome(rows)] == [
        ("left out: guest_not_found", False),
        ("failed: invalid options", True),
        ("failed: unreachable", True),
    ]


def test_a_guest_that_needs_no_change_is_as_desired() -> None:
    assert outcome(planned("0123"), {"guests": [result("0123")]})[0]["result"] == "as desired"


def test_states_in_short() -> None:
    assert state_text(None) == "?"
    assert state_text({"live": "0-1", "config": None, "online": None}) == "0-1"
    assert state_text({"live": "0-1", "config": "", "online": None}) == "live 0-1, config none"
