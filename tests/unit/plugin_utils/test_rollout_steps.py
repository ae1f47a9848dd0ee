# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a rollout on one hypervisor, with made-up batches and real records."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.plugin_utils import rollout_steps
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_steps import NOTHING, RecordFile, StepFailed

from ..support.rollouts import SOCKET, WEB1, failure, planned, result

HOSTVARS: dict[str, Any] = {"h1": {}}
PLUG = ("plug 2 planned", "plug 3 planned")
PLUGGED = ("plug 2 done", "plug 3 done")

Inspect = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]


def returns(*guests: dict[str, Any]) -> Inspect:
    return lambda options: {"guests": list(guests)} if options else pytest.fail("a batch without guests")


def not_run(_options: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    pytest.fail("a batch was run")


@pytest.fixture
def file(tmp_path: Path) -> RecordFile:
    return RecordFile(tmp_path / "a41c" / "h1.json", "a41c", "h1", check_mode=False)


@pytest.fixture
def in_check_mode(file: RecordFile) -> RecordFile:
    return RecordFile(file.path, file.rollout, file.hypervisor, check_mode=True)


def attempts(file: RecordFile) -> list[dict[str, Any]]:
    (guest,) = json.loads(file.path.read_text())["guests"].values()
    found: list[dict[str, Any]] = guest["attempts"]
    return found


def test_a_plan_inspects_only_the_guests_whose_options_are_valid() -> None:
    passed: list[Mapping[str, Any]] = []

    def inspect(options: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        passed.extend(options)
        return {"guests": [result("0123", *PLUG)]}

    rows = rollout_steps.plan([WEB1, {"cuont": 4}], {}, HOSTVARS, "h1", inspect)
    assert passed == [WEB1]
    assert [row["blocked_by"] for row in rows] == ["", "options"]
    assert [row["blocker"] for row in rollout_steps.plan([{"cuont": 4}], {}, HOSTVARS, "h1", not_run)]


def test_what_is_planned_is_recorded_before_it_is_changed(file: RecordFile) -> None:
    rollout_steps.begin(planned("0123", *PLUG), ["guest"], file)
    (attempt,) = attempts(file)
    assert (attempt["before"]["live"], attempt["planned"]["live"], attempt["open"]) == ("0-1", "0-3", True)
    assert attempt["started"].endswith("+00:00")


def test_nothing_is_recorded_in_check_mode_or_without_a_change(file: RecordFile, in_check_mode: RecordFile) -> None:
    rollout_steps.begin(planned("0123", *PLUG), [], in_check_mode)
    rollout_steps.end(planned("0123", *PLUG), {"guests": [result("0123", *PLUG)]}, in_check_mode, not_run)
    rollout_steps.begin(planned("01"), [], file)
    assert not file.path.exists()


def test_a_plan_that_is_blocked_since_the_preflight_is_not_recorded(file: RecordFile) -> None:
    rows = planned("01", failed=True, error_code="agent_unavailable", msg="no agent")
    with pytest.raises(StepFailed, match=r"nothing was changed on h1, .*: web1 on h1: no agent") as failed:
        rollout_steps.begin(rows, ["guest"], file)
    assert failed.value.result["rows"] == rows
    assert not file.path.exists()
    rollout_steps.begin(rows, ["hypervisor"], file)


def test_an_outcome_is_recorded_and_verified(file: RecordFile) -> None:
    rows = planned("0123", *PLUG)
    rollout_steps.begin(rows, [], file)
    rollout_steps.end(rows, {"guests": [result("0123", *PLUGGED)]}, file, returns(result("0123")))
    (attempt,) = attempts(file)
    assert (attempt["after"]["live"], attempt["open"]) == ("0-3", False)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (result("0123", "plug 3 planned"), "web1 still needs plug 3"),
        (failure("qmp_failed"), "not in the desired state after the change: web1 on h1: "),
    ],
)
def test_a_guest_that_is_not_as_desired_after_the_change_is_a_failure(
    file: RecordFile, found: dict[str, Any], why: str
) -> None:
    rows = planned("0123", *PLUG)
    rollout_steps.begin(rows, [], file)
    with pytest.raises(StepFailed, match=why):
        rollout_steps.end(rows, {"guests": [result("0123", *PLUGGED)]}, file, returns(found))


def test_a_guest_that_failed_is_recorded_and_not_verified(file: RecordFile) -> None:
    rows = planned("0123", *PLUG)
    rollout_steps.begin(rows, [], file)
    with pytest.raises(StepFailed, match="h1: no route"):
        rollout_steps.end(rows, {"unreachable": True, "msg": "no route"}, file, not_run)
    (attempt,) = attempts(file)
    assert (attempt["open"], attempt["error_code"]) == (True, "unreachable")


def test_a_record_is_closed_once_all_guests_of_the_rollout_are_as_desired(file: RecordFile) -> None:
    rows = planned("0123", *PLUG)
    rollout_steps.begin(rows, [], file)
    applied = {"guests": [result("0123", *PLUGGED)]}
    assert rollout_steps.finish(rows, applied, False, file)[0]["result"] == "changed"
    assert "completed" not in file.read()
    rollout_steps.finish(rows, applied, True, file)
    completed = file.read()["completed"]
    assert rollout_steps.finish(planned("0123"), NOTHING, True, file)[0]["result"] == "as desired"
    assert file.read()["completed"] == completed


def test_a_hypervisor_without_a_record_gets_none_at_the_end(file: RecordFile) -> None:
    rollout_steps.finish(planned("0123"), NOTHING, True, file)
    assert not file.path.exists()


def test_the_outcome_is_known_if_the_record_cannot_be_closed(file: RecordFile) -> None:
    rows = planned("0123", *PLUG)
    file.path.parent.mkdir()
    file.path.write_text("[")
    with pytest.raises(StepFailed, match=r"cannot read the record .*; correct that") as failed:
        rollout_steps.finish(rows, {"guests": [result("0123", *PLUGGED)]}, True, file)
    assert failed.value.result["rows"][0]["result"] == "changed"


@pytest.mark.parametrize("text", ["", "[]", '{"guests":'])
def test_a_file_that_has_no_record_is_an_error_and_kept(file: RecordFile, text: str) -> None:
    file.path.parent.mkdir()
    file.path.write_text(text)
    with pytest.raises(StepFailed, match=r"cannot read the record .*; correct that"):
        rollout_steps.begin(planned("0123", *PLUG), [], file)
    assert file.path.read_text() == text


def test_a_folder_in_which_nothing_can_be_written_is_an_error_and_the_plan_is_kept(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    file = RecordFile(tmp_path / "state" / "h1.json", "a41c", "h1", check_mode=False)
    rows = planned("0123", *PLUG)
    with pytest.raises(StepFailed, match="Not a directory") as failed:
        rollout_steps.begin(rows, [], file)
    assert failed.value.result["rows"] == rows


def changed(file: RecordFile) -> None:
    rows = planned("0123", *PLUG)
    rollout_steps.begin(rows, [], file)
    rollout_steps.end(rows, {"guests": [result("0123", *PLUGGED)]}, file, returns(result("0123")))


def test_a_revert_is_recorded_before_and_after_it(file: RecordFile) -> None:
    changed(file)
    undo = rollout_steps.begin_revert(file, returns(result("0123")))
    assert [one["desired"]["vcpus"] for one in undo["live"]] == [[{"id": "2-3", "state": "disabled"}]]
    assert [(one["kind"], one["open"]) for one in attempts(file)] == [("rollout", False), ("revert", True)]
    unplugged = {"guests": [result("01", "unplug 2 done", "unplug 3 done")]}
    batches = {"live": unplugged, "config": NOTHING, "online": NOTHING}
    (row,) = rollout_steps.end_revert(undo, batches, file, returns(result("01")))
    assert (row["result"], row["after"]["live"]) == ("reverted", "0-1")
    assert [one["open"] for one in attempts(file)] == [False, False]
    assert rollout_steps.begin_revert(file, not_run)["rows"] == []


def test_a_revert_in_check_mode_is_not_recorded(file: RecordFile, in_check_mode: RecordFile) -> None:
    changed(file)
    before = file.path.read_text()
    undo = rollout_steps.begin_revert(in_check_mode, returns(result("0123")))
    batches = {"live": {"guests": [result("01", "unplug 2 planned")]}, "config": NOTHING, "online": NOTHING}
    (row,) = rollout_steps.end_revert(undo, batches, in_check_mode, not_run)
    assert row["result"] == "would revert"
    assert file.path.read_text() == before


def test_the_config_of_a_guest_whose_live_state_was_not_reverted_is_not_reverted() -> None:
    undo = {name: [{"key": SOCKET, "desired": {}}, {"key": "other", "desired": {}}] for name in ("live", "config")}
    live = {"guests": [failure("unplug_refused"), result("01")]}
    assert [one["key"] for one in rollout_steps.config_to_revert(undo, live)] == ["other"]
