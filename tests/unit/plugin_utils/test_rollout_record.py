# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan, the record and the undoing of a rollout, without any guest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.kvm.hotplug.plugins.filter.fleet_table import fleet_table
from ansible_collections.kvm.hotplug.plugins.plugin_utils.audit import audit_rows
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_plan import plan_rows, result_rows, told_state
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_record import begin, changed_guests, end, undo

Record = dict[str, Any]
WEB1 = {"qmp_socket": "/run/web1.sock", "count": 4}


def result(live: str | None, *steps: str, config: str | None = None, item: str = "/run/web1.sock", **more: Any) -> Any:
    """What vcpu_batch tells of a guest with 8 vCPUs, these enabled; steps are such as ``plug 4 done``."""

    def is_in(vcpu: int, ids: str | None) -> str | None:
        return None if ids is None else "enabled" if str(vcpu) in ids else "disabled"

    told = [dict(zip(("step", "vcpus", "status"), step.split())) for step in steps]
    vcpus = [
        {"id": vcpu, "live": is_in(vcpu, live), "config": is_in(vcpu, config), "online": None, "thread_id": 1}
        for vcpu in range(8)
    ]
    return {
        "item": item,
        "failed": False,
        "skipped": False,
        "changed": bool(steps),
        "msg": "",
        "vcpus": vcpus,
        "steps": told,
        "guest": {"state": "running", "uuid": None},
        **more,
    }


def planned(live: str | None, *steps: str, **more: Any) -> list[dict[str, Any]]:
    return plan_rows({"guests": [result(live, *steps, **more)]}, "h1", [WEB1], {})


def attempt(record: Record, before: str, after: str | None, *steps: str) -> Record:
    """A record with one more attempt that was to plug 2 and 3."""
    missing = [f"plug {vcpu} planned" for vcpu in "23" if vcpu not in before]
    rows = planned("0123", *missing)
    record = begin(record, rows, "now")
    if after is None:
        return record
    return end(record, rows, [{"guests": [result(after, *steps)]}])


def undoing(record: Record, now: str) -> dict[str, Any]:
    return undo(record, {"guests": [result(now)]}, "h1")


def wishes(found: dict[str, Any], scope: str = "live") -> list[Any]:
    return [one["options"]["vcpus"] for one in found[scope]]


DISABLE = {"id": "2-3", "state": "disabled"}


def test_a_plan_tells_the_state_before_its_steps() -> None:
    (row,) = planned("0123", "plug 2 planned", "plug 3 planned", "enable 2 planned", config="012")
    assert row["before"] == {"live": "0-1", "config": "0-1", "online": None}
    assert (row["now"], row["then"], row["steps"]) == ("0-1", "live 0-3, config 0-2", "plug 2-3, enable 2")
    assert row["apply"] == {**WEB1, "expected": {"live": "0-1", "config": "0-1"}}


def test_a_guest_that_failed_has_a_blocker_and_no_steps() -> None:
    (row,) = planned("01", failed=True, error_code="conflicting_request", msg="why")
    assert (row["blocker"], row["msg"], row["steps"], row["changed"]) == ("conflicting_request", "why", "", False)


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        ({"unreachable": True, "msg": "no route"}, "unreachable"),
        ({"error_code": "conflicting_request", "guests": [], "msg": "guests[0]: count"}, "conflicting_request"),
        ({"msg": "MODULE FAILURE"}, "internal"),
    ],
)
def test_a_batch_that_says_nothing_of_its_guests_blocks_them_all(batch: Any, code: str) -> None:
    (row,) = plan_rows(batch, "h1", [WEB1], {})
    assert (row["guest"], row["blocker"], row["msg"]) == ("(all)", code, batch["msg"])


def test_a_guest_whose_agent_answers_has_to_show_that_it_uses_its_vcpus() -> None:
    told = result("01")
    told["vcpus"][0]["online"] = True
    assert plan_rows({"guests": [told]}, "h1", [WEB1], {})[0]["apply"]["guest_online"] == "verify"
    for defaults in ({"guest_online": "ignore"}, {"method": "agent"}):
        assert "guest_online" not in plan_rows({"guests": [told]}, "h1", [WEB1], defaults)[0]["apply"]


def test_what_was_changed_is_undone() -> None:
    found = undoing(attempt({}, "01", "0123", "plug 2 done", "plug 3 done"), "0123")
    assert wishes(found) == [[DISABLE]]
    assert found["live"][0]["options"]["expected"] == {"live": "0-3"}
    assert found["live"][0]["options"]["qmp_socket"] == "/run/web1.sock"


def test_a_guest_that_somebody_changed_is_left_alone() -> None:
    found = undoing(attempt({}, "01", "0123"), "01235")
    assert (wishes(found), found["rows"][0]["changed"]) == ([], False)
    assert found["rows"][0]["result"].startswith("left alone: somebody changed it, live was 0-3")


def test_a_guest_that_somebody_reverted_already_is_as_before() -> None:
    assert undoing(attempt({}, "01", "0123"), "01")["rows"][0]["result"] == "as before already"


@pytest.mark.parametrize(("now", "undone"), [("012", [[{"id": "2", "state": "disabled"}]]), ("01", []), ("0125", [])])
def test_of_an_interrupted_attempt_what_was_planned_and_is_there_is_undone(now: str, undone: Any) -> None:
    assert wishes(undoing(attempt({}, "01", None), now)) == undone


def test_a_later_attempt_keeps_the_first_ones_beginning() -> None:
    record = attempt(attempt({}, "01", None), "012", "0123", "plug 3 done")
    (guest,) = record["guests"].values()
    assert guest["before"]["live"] == "0-1"
    assert not guest["attempts"][0]["open"]
    assert wishes(undoing(record, "0123")) == [[DISABLE]]


def test_what_somebody_changed_between_two_attempts_stays() -> None:
    record = attempt({}, "01", "012", "plug 2 done")
    rows = planned("01235", "plug 3 planned")
    record = end(begin(record, rows, "now"), rows, [{"guests": [result("01235", "plug 3 done")]}])
    assert wishes(undoing(record, "01235")) == [[DISABLE]]


def test_a_revert_is_recorded_and_leaves_nothing_for_a_second_one() -> None:
    record = attempt({}, "01", "0123")
    rows = undoing(record, "0123")["rows"]
    reverting = begin(record, rows, "later", "revert")
    record = end(reverting, rows, [{"guests": [result("01", "unplug 3 done", "unplug 2 done")]}, {"guests": []}])
    assert changed_guests(record) == []
    assert undo(record, {"guests": []}, "h1")["rows"] == []
    # One that was interrupted half way goes on.
    assert wishes(undoing(reverting, "012")) == [[{"id": "2", "state": "disabled"}]]


def test_a_pending_step_is_waited_for_by_whoever_looks_next() -> None:
    rows = planned("01", "unplug 2 planned")
    record = end(begin({}, rows, "now"), rows, [{"guests": [result("012", "unplug 2 pending", failed=True)]}])
    assert wishes(undoing(record, "012")) == []
    assert wishes(undoing(record, "01")) == [[{"id": "2", "state": "enabled"}]]


def test_each_scope_is_undone_for_itself() -> None:
    rows = planned("0123", "plug 3 planned", "enable 2 planned", config="012")
    record = end(begin({}, rows, "now"), rows, [{"guests": [result("0123", config="012")]}])
    found = undo(record, {"guests": [result("0123", config="012")]}, "h1")
    assert wishes(found) == [[{"id": "3", "state": "disabled"}]]
    assert wishes(found, "config") == [[{"id": "2", "state": "disabled"}]]
    assert [found[scope][0]["options"]["scope"] for scope in ("live", "config")] == ["live", "config"]


def test_a_rollout_that_was_completed_begins_anew() -> None:
    done = {**attempt({}, "01", "0123"), "completed": "then"}
    assert begin(done, planned("0123"), "now") == done
    record = attempt(done, "013", "0123", "plug 2 done")
    assert wishes(undoing(record, "0123")) == [[{"id": "2", "state": "disabled"}]]
    assert record["history"] == [{"completed": "then", "guests": done["guests"]}]


def test_a_guest_that_cannot_be_seen_is_not_reverted_and_says_so() -> None:
    gone = {"item": "/run/web1.sock", "failed": True, "error_code": "monitor_unreachable", "msg": "why", "steps": []}
    found = undo(attempt({}, "01", "0123"), {"guests": [{**gone, "skipped": False, "changed": False}]}, "h1")
    (row,) = result_rows(found["rows"], [], "reverted")
    assert (row["result"], row["failed"], row["msg"]) == ("not reverted: monitor_unreachable", True, "why")
    (row,) = result_rows(planned("01", failed=True, error_code="internal", msg="why"), [], "changed")
    assert (row["result"], row["failed"]) == ("left out: internal", False)


def test_results_tell_what_came_of_each_guest() -> None:
    rows = planned("0123", "plug 2 planned", "plug 3 planned")
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: result("0123", "plug 2 done", "plug 3 done"), "changed"),
        (lambda: result("01", skipped=True), "not begun"),
        (lambda: result("01", "plug 2 failed", failed=True, error_code="internal"), "failed: internal"),
    ]
    for make, word in cases:
        assert result_rows(rows, [{"guests": [make()]}], "changed")[0]["result"] == word
    lost = result_rows(rows, [{"unreachable": True}], "changed")[0]
    assert (lost["result"], lost["failed"]) == ("not known", True)


def test_a_table_is_as_wide_as_what_is_in_it() -> None:
    assert fleet_table([{"guest": "web1", "now": "0-1"}, {"guest": "db", "now": None}], ["guest", "now"]) == (
        "guest  now\n─────  ───\nweb1   0-1\ndb     -"
    )
    assert fleet_table([], ["guest"]) == "guest\n─────"
    for bad in ("text", [1], None):
        with pytest.raises(AnsibleFilterError, match="list of dictionaries"):
            fleet_table(bad, ["guest"])


def test_states_in_short() -> None:
    assert told_state(None) == "?"
    assert told_state({"live": "0-1", "config": None, "online": None}) == "0-1"
    assert told_state({"live": "0-1", "config": "", "online": None}) == "live 0-1, config none"


def test_an_audit_shows_each_guest_once() -> None:
    plans = planned("0123", "plug 2 planned", config="01")
    batch = {"guests": [result("0123", "plug 2 planned", config="01")]}
    seen = {**result("013", config="01"), "guest": {"name": None, "uuid": None, "state": "running"}}
    look = {
        "guests": [{**seen, "drift": {"config": "3", "libvirt": "3"}}],
        "failed_guests": [{"guest": "web2", "error_code": "monitor_busy", "msg": "why"}],
    }
    rows = audit_rows(plans, batch, [look, {"item": "qemu:///x", "error_code": "backend_missing", "msg": ""}], "h1")
    assert [(row["guest"], row["drifts"]) for row in rows] == [
        ("/run/web1.sock", "config: 3, libvirt: 3, inventory: plug 2"),
        ("web2", "monitor_busy"),
        ("qemu:///x", "backend_missing"),
    ]
