# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a rollout: each guest in its present state, planned, changed, failed and reverted."""

from __future__ import annotations

from typing import Any

from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_plan import outcome_rows, results_of
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_record import (
    begin_attempts,
    end_attempts,
    revert_plan,
)
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_report import rollout_report

from ..support.rollouts import desired, planned, result


def guest_in(rows: list[dict[str, Any]], phase: str = "plan") -> dict[str, Any]:
    (guest,) = rollout_report(rows, [], "may", phase)["guests"]
    return dict(guest)


def outcome(rows: list[dict[str, Any]], done: str = "changed", **changes: Any) -> list[dict[str, Any]]:
    batch = {"guests": [{**result("0123", "plug 2 done"), **changes}]}
    return outcome_rows(rows, [results_of(rows, batch)], done)


def test_a_planned_guest_has_its_present_state_and_the_planned_one() -> None:
    guest = guest_in(planned("0123", "plug 2 planned", config="01"))
    assert (guest["live"], guest["config"], guest["planned"]["live"]) == ("0-1,3", "0-1", "0-3")
    assert guest["headroom"] == {"live": 5, "config": 6}
    assert (guest["steps"], guest["result"], guest["failed"]) == ("plug 2", None, False)


def test_a_changed_guest_has_the_state_after_the_change() -> None:
    guest = guest_in(outcome(planned("0123", "plug 2 planned")), "outcome")
    assert (guest["live"], guest["headroom"]["live"], guest["result"]) == ("0-3", 4, "changed")


def test_in_check_mode_a_guest_keeps_the_state_before_the_change() -> None:
    rows = planned("0123", "plug 2 planned")
    checked = {"guests": [result("0123", "plug 2 planned")]}
    guest = guest_in(outcome_rows(rows, [results_of(rows, checked)], "would change"), "outcome")
    assert (guest["live"], guest["result"]) == ("0-1,3", "would change")


def test_a_failed_guest_has_the_error_code_of_its_change() -> None:
    rows = planned("0123", "plug 2 planned")
    failed = outcome(rows, failed=True, error_code="monitor_busy", msg="why")
    guest = guest_in(failed, "outcome")
    assert (guest["failed"], guest["error_code"], guest["result"], guest["msg"]) == (
        True, "monitor_busy", "failed: monitor_busy", "why",
    )  # fmt: skip


def test_a_guest_with_invalid_options_has_no_layout_and_has_failed() -> None:
    guest = guest_in(desired({"name": "web1", "cuont": 2}))
    assert (guest["cores"], guest["live"], guest["headroom"]) == ([], None, {"live": None, "config": None})
    assert (guest["failed"], guest["error_code"]) == (True, "conflicting_request")


def test_what_the_guest_uses_is_reported_without_method_agent() -> None:
    seen = result("0123", "plug 2 planned", "online 3 planned")
    for vcpu in seen["vcpus"]:
        vcpu["online"] = vcpu["live"] == "enabled"
    guest = guest_in(planned("0123", "plug 2 planned", "online 3 planned", vcpus=seen["vcpus"]))
    assert (guest["online"], guest["live"]) == ("0-1", "0-1,3")


def test_a_reverted_guest_is_reported_with_its_layout() -> None:
    rows = planned("0123", "plug 2 planned")
    record = begin_attempts({}, rows, "now")
    changed = {"guests": [result("0123", "plug 2 done")]}
    record = end_attempts(record, rows, [results_of(rows, changed)])
    undo = revert_plan(record, changed, "h1")
    reverted = outcome_rows(
        undo["rows"], [results_of(undo["live"], {"guests": [result("013", "unplug 2 done")]})], "ok"
    )
    (guest,) = rollout_report([], reverted, "may", "revert")["reverted"]
    assert (guest["live"], guest["headroom"]["live"], guest["result"]) == ("0-1,3", 5, "ok")
    assert len(guest["cores"]) == 8
