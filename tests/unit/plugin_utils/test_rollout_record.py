# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of a rollout and its revert, without any guest."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_plan import outcome_rows, plan_rows, results_of
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_record import (
    begin_attempts,
    changed_guests,
    end_attempts,
    revert_plan,
)

from ..support.rollouts import SOCKET, Rows, desired, failure, planned, result

Record = dict[str, Any]


def end(record: Record, rows: Rows, *found: dict[str, Any]) -> Record:
    """End the attempts of these rows with such results of a batch."""
    return end_attempts(record, rows, [results_of(rows, {"guests": list(found)})])


def attempt(record: Record, before: str, after: str | None, *steps: str) -> Record:
    """Return a record with one more attempt that was to plug 2 and 3."""
    missing = [f"plug {vcpu} planned" for vcpu in "23" if vcpu not in before]
    rows = planned("0123", *missing)
    record = begin_attempts(record, rows, "now")
    return record if after is None else end(record, rows, result(after, *steps))


def reverting(record: Record, now: str) -> dict[str, Any]:
    return revert_plan(record, {"guests": [result(now)]}, "h1")


def vcpus(found: dict[str, Any], scope: str = "live") -> list[Any]:
    return [one["desired"]["vcpus"] for one in found[scope]]


DISABLE = {"id": "2-3", "state": "disabled"}


def test_changes_of_the_rollout_are_reverted() -> None:
    found = reverting(attempt({}, "01", "0123", "plug 2 done", "plug 3 done"), "0123")
    assert vcpus(found) == [[DISABLE]]
    assert found["live"][0]["desired"]["expected"] == {"live": "0-3"}
    assert found["live"][0]["desired"]["qmp_socket"] == SOCKET


def test_a_guest_that_was_changed_since_is_not_reverted() -> None:
    found = reverting(attempt({}, "01", "0123"), "01235")
    assert (vcpus(found), found["rows"][0]["changed"]) == ([], False)
    assert found["rows"][0]["result"] == "left alone: changed since, live was 0-3 after the rollout, is 0-3,5"


def test_a_guest_that_is_already_in_its_former_state_is_as_before() -> None:
    assert reverting(attempt({}, "01", "0123"), "01")["rows"][0]["result"] == "as before already"


@pytest.mark.parametrize(("now", "undone"), [("012", [[{"id": "2", "state": "disabled"}]]), ("01", []), ("0125", [])])
def test_of_an_interrupted_attempt_only_planned_changes_are_reverted(now: str, undone: Any) -> None:
    assert vcpus(reverting(attempt({}, "01", None), now)) == undone


def test_a_later_attempt_keeps_the_state_before_the_first() -> None:
    record = attempt(attempt({}, "01", None), "012", "0123", "plug 3 done")
    (guest,) = record["guests"].values()
    assert guest["before"]["live"] == "0-1"
    assert not guest["attempts"][0]["open"]
    assert vcpus(reverting(record, "0123")) == [[DISABLE]]


def test_changes_of_others_between_two_attempts_are_kept() -> None:
    record = attempt({}, "01", "012", "plug 2 done")
    rows = planned("01235", "plug 3 planned")
    record = end(begin_attempts(record, rows, "now"), rows, result("01235", "plug 3 done"))
    assert vcpus(reverting(record, "01235")) == [[DISABLE]]


def test_a_revert_is_recorded_and_a_second_one_has_nothing_to_do() -> None:
    record = attempt({}, "01", "0123")
    rows = reverting(record, "0123")["rows"]
    begun = begin_attempts(record, rows, "later", "revert")
    reverted = end(begun, rows, result("01", "unplug 3 done", "unplug 2 done"))
    assert changed_guests(reverted) == []
    assert revert_plan(reverted, {"skipped": True}, "h1")["rows"] == []
    # One that was interrupted half way continues.
    assert vcpus(reverting(begun, "012")) == [[{"id": "2", "state": "disabled"}]]


def test_a_pending_step_is_settled_by_the_next_inspection() -> None:
    rows = planned("01", "unplug 2 planned")
    failed = result("012", "unplug 2 pending", failed=True, error_code="unplug_pending")
    record = end(begin_attempts({}, rows, "now"), rows, failed)
    assert vcpus(reverting(record, "012")) == []
    assert vcpus(reverting(record, "01")) == [[{"id": "2", "state": "enabled"}]]


def test_each_scope_is_reverted_independently() -> None:
    rows = planned("0123", "plug 3 planned", "enable 2 planned", config="012")
    record = end(begin_attempts({}, rows, "now"), rows, result("0123", config="012"))
    found = revert_plan(record, {"guests": [result("0123", config="012")]}, "h1")
    assert vcpus(found) == [[{"id": "3", "state": "disabled"}]]
    assert vcpus(found, "config") == [[{"id": "2", "state": "disabled"}]]
    assert [found[scope][0]["desired"]["scope"] for scope in ("live", "config")] == ["live", "config"]


def test_a_completed_rollout_starts_a_new_record() -> None:
    done = {**attempt({}, "01", "0123"), "completed": "then"}
    assert begin_attempts(done, planned("0123"), "now") == done
    record = attempt(done, "013", "0123", "plug 2 done")
    assert vcpus(reverting(record, "0123")) == [[{"id": "2", "state": "disabled"}]]
    assert record["history"] == [{"completed": "then", "guests": done["guests"]}]


def test_guests_of_one_name_have_separate_records() -> None:
    uris = ("qemu:///system", "qemu:///session")
    guests = desired(*({"name": "web1", "uri": uri, "count": 3} for uri in uris))
    rows = plan_rows(guests, {"guests": [result("012", "plug 2 planned"), result("0123", "plug 3 planned")]})
    record = end(begin_attempts({}, rows, "now"), rows, result("012", "plug 2 done"), result("0123", "plug 3 done"))
    after = {key: guest["attempts"][0]["after"]["live"] for key, guest in record["guests"].items()}
    assert after == {"web1 at qemu:///system": "0-2", "web1 at qemu:///session": "0-3"}
    assert [one["desired"]["uri"] for one in changed_guests(record)] == list(uris)
    found = revert_plan(record, {"guests": [result("012"), result("0123")]}, "h1")
    assert vcpus(found) == [[{"id": "2", "state": "disabled"}], [{"id": "3", "state": "disabled"}]]


@pytest.mark.parametrize(
    ("seen", "code"),
    [({"guests": [failure("monitor_unreachable")]}, "monitor_unreachable"), ({"unreachable": True}, "unreachable")],
    ids=["guest", "hypervisor"],
)
def test_a_guest_that_cannot_be_inspected_is_not_reverted(seen: dict[str, Any], code: str) -> None:
    found = revert_plan(attempt({}, "01", "0123"), seen, "h1")
    (row,) = outcome_rows(found["rows"], [], "reverted")
    assert (row["guest"], row["result"], row["failed"]) == ("web1", f"not reverted: {code}", True)
    assert found["live"] == []


def test_the_outcome_of_an_attempt_on_a_lost_hypervisor_is_open() -> None:
    rows = planned("0123", "plug 2 planned", "plug 3 planned")
    record = end_attempts(
        begin_attempts({}, rows, "now"), rows, [results_of(rows, {"unreachable": True, "msg": "no route"})]
    )
    (written,) = record["guests"][SOCKET]["attempts"]
    assert (written["open"], written["error_code"], written["msg"]) == (True, "unreachable", "no route")
    assert vcpus(reverting(record, "012")) == [[{"id": "2", "state": "disabled"}]]
