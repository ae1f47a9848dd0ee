# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules as Ansible runs them: arguments in, one JSON result out, every failure with a code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.entry import vcpu as entry

from ..support.faulty_peers import hang_up, says, says_nothing
from ..support.modules import RunModule, cost_of, start_module
from ..support.peer import Peer
from ..support.replay import Replay
from ..support.scripted_qemu import REFUSES_FOR_GOOD, Imitation

StartPeer = Callable[..., Peer]


def on(ids: str) -> list[dict[str, str]]:
    return [{"id": ids, "state": "enabled"}]


def off(ids: str) -> list[dict[str, str]]:
    return [{"id": ids, "state": "disabled"}]


def test_vcpu_brings_a_guest_to_the_desired_state_and_a_second_run_changes_nothing(
    peer: StartPeer, run: RunModule
) -> None:
    qemu = peer(Imitation())
    first = run("vcpu", qmp_socket=qemu.address, vcpus=on("5"))
    second = run("vcpu", qmp_socket=qemu.address, vcpus=on("5"))
    assert (first["changed"], second["changed"]) == (True, False)
    assert [step["status"] for step in first["steps"]] == ["done"]
    assert second["steps"] == []
    assert first["vcpus"] == second["vcpus"]


def test_vcpu_in_check_mode_sends_nothing_that_changes_anything(peer: StartPeer, run: RunModule) -> None:
    qemu = peer(Imitation())
    answer = run("vcpu", check=True, qmp_socket=qemu.address, count=4)
    assert (answer["changed"], qemu.changes) == (True, [])
    assert [(step["vcpus"], step["status"]) for step in answer["steps"]] == [("2", "planned"), ("3", "planned")]


def test_enabled_is_checked_applied_and_then_unchanged(peer: StartPeer, run: RunModule) -> None:
    qemu = peer(Imitation())
    answers = [run("vcpu", check=check, qmp_socket=qemu.address, enabled="0,3-4") for check in (True, False) * 2]
    assert [answer["changed"] for answer in answers] == [True, True, False, False]
    assert [f"{step['step']} {step['vcpus']}" for step in answers[0]["steps"]] == ["plug 3", "plug 4", "unplug 1"]
    assert qemu.changes == ["device_add vcpu3", "device_add vcpu4", "device_del vcpu1"]


def test_vcpu_info_returns_the_guests(peer: StartPeer, run: RunModule) -> None:
    answer = run("vcpu_info", qmp_socket=peer(Replay("unplug-boot-vcpu")).address)
    assert answer["changed"] is False
    assert [guest["guest"]["name"] for guest in answer["guests"]] == ["web1"]


def test_a_failure_returns_code_message_steps_and_reached_state(peer: StartPeer, run: RunModule) -> None:
    qemu = peer(Imitation(unplug={1: REFUSES_FOR_GOOD}))
    answer = run("vcpu", qmp_socket=qemu.address, vcpus=on("2") + off("1"))
    assert (answer["failed"], answer["changed"], answer["error_code"]) == (True, True, "unplug_refused")
    assert [step["status"] for step in answer["steps"]] == ["done", "refused"]
    assert [(vcpu["id"], vcpu["live"]) for vcpu in answer["vcpus"]] == [(1, "enabled"), (2, "enabled")]
    assert "exception" not in answer


def test_warnings_reach_the_user(peer: StartPeer, run: RunModule) -> None:
    answer = run("vcpu", qmp_socket=peer(Replay("not-started-plug")).address, vcpus=on("5"))
    assert "when it runs" in json.dumps(answer["warnings"])


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "conflicting_request"),
        ({"count": 1, "vcpus": on("1")}, "conflicting_request"),
        ({"count": 1, "nodes": on("1")}, "conflicting_request"),
        ({"vcpus": [{"id": "1"}]}, "conflicting_request"),
        ({"vcpus": [{"id": "1", "state": "gone"}]}, "conflicting_request"),
        ({"vcpus": "1"}, "conflicting_request"),
        ({"nodes": [{"id": "1"}]}, "conflicting_request"),
        ({"nodes": [{"id": "1", "state": "enabled", "count": 1}]}, "conflicting_request"),
        ({"count": "many"}, "conflicting_request"),
        ({"count": 1, "timeout": "soon"}, "conflicting_request"),
        ({"count": 1, "timeout": 0}, "conflicting_request"),
        ({"count": 1, "timeout": "nan"}, "conflicting_request"),
        ({"count": 1, "scope": "everything"}, "conflicting_request"),
        ({"count": 1, "colour": "blue"}, "conflicting_request"),
        ({"count": "+2"}, "conflicting_request"),
        ({"count": True}, "conflicting_request"),
        ({"count": float("inf")}, "conflicting_request"),
        ({"count": 1, "expected": 2}, "conflicting_request"),
        ({"count": 1, "domain_xml": "nul\0"}, "conflicting_request"),
        ({"count": float("inf"), "expected": 2, "vcpus": [1]}, "conflicting_request"),
        ({"nodes": [{"id": "1", "count": "+2"}]}, "conflicting_request"),
        ({"count": 1, "enabled": "0-3"}, "conflicting_request"),
        ({"nodes": on("1"), "enabled": "0-3"}, "conflicting_request"),
        ({"vcpus": on("1"), "enabled": "0-3"}, "conflicting_request"),
        ({"enabled": "0-3", "exclusive": True}, "conflicting_request"),
        ({"enabled": "0-3", "placement": "spread"}, "conflicting_request"),
        ({"enabled": ""}, "unknown_vcpu"),
        ({"enabled": "+2"}, "unknown_vcpu"),
        ({"vcpus": []}, "conflicting_request"),
        ({"nodes": []}, "conflicting_request"),
        ({"vcpus": on("1") + off("1")}, "conflicting_request"),
        ({"count": 0}, "count_unreachable"),
        ({"vcpus": on("3-1")}, "unknown_vcpu"),
        ({"vcpus": on("1-99999999999")}, "unknown_vcpu"),
        ({"nodes": on("x")}, "unknown_node"),
    ],
)
def test_invalid_options_are_refused_before_any_connection(
    peer: StartPeer, run: RunModule, options: dict[str, Any], code: str
) -> None:
    qemu = peer(Imitation())
    answer = run("vcpu", qmp_socket=qemu.address, **options)
    assert (answer["failed"], answer["error_code"], qemu.received) == (True, code, [])
    assert answer["msg"]
    assert "exception" not in answer or "Traceback" not in str(answer["exception"])


@pytest.mark.parametrize(
    ("guest", "code", "words"),
    [
        ({"count": float("inf")}, "conflicting_request", "count is inf"),
        ({"count": 2, "expected": 2}, "conflicting_request", "expected is 2"),
        ({"count": 2, "name": "web\0"}, "conflicting_request", "name is"),
        ({"count": "+2"}, "conflicting_request", "count is '+2'"),
        ({"enabled": "0", "count": 1}, "conflicting_request", "mutually exclusive"),
        ({"count": 0}, "count_unreachable", "count is 0"),
        ({"enabled": "3-1"}, "unknown_vcpu", "runs backwards"),
        ({"count": 1, "timeout": 0}, "conflicting_request", "timeout is 0"),
        ({"count": 1, "backup": True}, "conflicting_request", "backup"),
        ({"count": [2]}, "conflicting_request", "count is [2]"),
        ({"count": 2, "uri": ["qemu:///system"], "name": {"a": 1}}, "conflicting_request", "mutually exclusive"),
        ({"count": 2, "qmp_socket": "/run/q\0"}, "conflicting_request", "qmp_socket is"),
        ({}, "conflicting_request", "there is no desired state"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_a_guest_of_a_batch_with_invalid_options_fails_alone(
    peer: StartPeer, run: RunModule, guest: dict[str, Any], code: str, words: str, check: bool
) -> None:
    first, last = (peer(Imitation(answers={"query-name": {"return": {"name": name}}})) for name in ("a", "c"))
    desired_states = [{"qmp_socket": qemu.address, "count": 3} for qemu in (first, last)]
    answer = run(
        "vcpu_batch", guests=[desired_states[0], {"qmp_socket": "/nowhere", **guest}, desired_states[1]], check=check
    )
    assert (answer["failed"], answer["error_code"], answer["changed"]) == (True, code, True)
    assert answer["summary"] == {"guests": 3, "changed": 2, "unchanged": 0, "failed": 1, "skipped": 0}
    assert [found["failed"] for found in answer["guests"]] == [False, True, False]
    invalid = answer["guests"][1]
    assert (invalid["error_code"], invalid["changed"], invalid["steps"]) == (code, False, [])
    assert words in invalid["msg"]
    assert words in answer["msg"]
    assert first.changes == last.changes == ([] if check else ["device_add vcpu2"])


def test_a_guest_of_a_batch_without_a_name_is_called_by_its_number(peer: StartPeer, run: RunModule) -> None:
    qemu = peer(Imitation())
    answer = run("vcpu_batch", guests=[{"count": 3}, {"qmp_socket": qemu.address, "count": 3}])
    assert [found["item"] for found in answer["guests"]] == ["guests[0]", qemu.address]
    assert [found["failed"] for found in answer["guests"]] == [True, False]
    assert "guests[0] (conflicting_request): one of the following is required: name, qmp_socket" in answer["msg"]


def test_with_fail_fast_a_guest_with_invalid_options_keeps_those_after_it_from_being_changed(
    peer: StartPeer, run: RunModule
) -> None:
    qemu = peer(Imitation())
    guests = [{"qmp_socket": "/nowhere", "count": "many"}, {"qmp_socket": qemu.address, "count": 3}]
    answer = run("vcpu_batch", guests=guests, fail_fast=True, max_concurrency=1)
    assert [found["skipped"] for found in answer["guests"]] == [False, True]
    assert qemu.changes == []


def test_a_guest_of_a_batch_with_a_desired_state_inherits_no_other(peer: StartPeer, run: RunModule) -> None:
    qemus = [peer(Imitation(answers={"query-name": {"return": {"name": name}}})) for name in ("a", "b", "c")]
    desired_states: list[dict[str, Any]] = [{"enabled": "0,5"}, {"count": 3}, {}]
    answer = run(
        "vcpu_batch",
        guests=[{"qmp_socket": qemu.address, **desired} for qemu, desired in zip(qemus, desired_states)],
        defaults={"vcpus": on("0,7"), "exclusive": True},
        details="full",
    )
    assert [guest["msg"] for guest in answer["guests"]] == ["", "", ""]
    enabled = [[vcpu["id"] for vcpu in guest["vcpus"] if vcpu["live"] == "enabled"] for guest in answer["guests"]]
    assert enabled == [[0, 5], [0, 1, 2], [0, 7]]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"vcpus": on("8")}, "unknown_vcpu"),
        ({"nodes": on("2")}, "unknown_node"),
        ({"nodes": [{"id": "1", "count": 5}]}, "count_unreachable"),
        ({"nodes": [{"id": "0", "count": 0}]}, "count_unreachable"),
        ({"count": 9}, "count_unreachable"),
        ({"count": 1, "scope": "config"}, "conflicting_request"),
        ({"vcpus": off("0")}, "not_hotpluggable"),
        ({"nodes": off("0")}, "not_hotpluggable"),
    ],
)
def test_a_state_that_this_guest_cannot_have_is_refused_before_any_change(
    peer: StartPeer, run: RunModule, options: dict[str, Any], code: str
) -> None:
    qemu = peer(Imitation())
    answer = run("vcpu", qmp_socket=qemu.address, **options)
    assert (answer["error_code"], answer["changed"], answer["steps"], qemu.changes) == (code, False, [], [])


@pytest.mark.parametrize("module", ["vcpu", "vcpu_info"])
@pytest.mark.parametrize(
    ("talk", "code"),
    [
        (says_nothing, "monitor_busy"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "monitor_unreachable"),
        (Imitation().but("query-status", hang_up), "connection_lost"),
    ],
)
def test_an_unreachable_monitor_has_its_code(
    peer: StartPeer, run: RunModule, module: str, talk: Any, code: str
) -> None:
    wanted = {"count": 2} if module == "vcpu" else {}
    answer = run(module, qmp_socket=peer(talk).address, timeout=0.5, **wanted)
    assert (answer["failed"], answer["error_code"], answer["changed"]) == (True, code, False)


def test_a_missing_library_is_named_with_the_python_interpreter(
    run: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "qemu.qmp", None)
    for name in [name for name in sys.modules if name.endswith("machine.qmp_client")]:
        monkeypatch.delitem(sys.modules, name)
    answer = run("vcpu", qmp_socket="/nowhere", count=1)
    assert answer["error_code"] == "backend_missing"
    assert "qemu.qmp" in answer["msg"]
    assert sys.executable in answer["msg"]
    assert "ansible_python_interpreter. The role kvm.hotplug.hypervisor installs" in answer["msg"]


def test_a_defect_of_the_collection_is_reported_as_internal(run: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("by mistake")

    monkeypatch.setattr(entry, "writer_of", broken)
    answer = run("vcpu", qmp_socket="/nowhere", count=1)
    assert (answer["failed"], answer["error_code"], answer["changed"]) == (True, "internal", False)
    assert "please report it: ZeroDivisionError: by mistake" in answer["msg"]


def test_an_internal_error_after_a_change_does_not_claim_that_nothing_changed(
    peer: StartPeer, run: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_arguments: object) -> None:
        raise ZeroDivisionError("by mistake")

    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.machine import QmpMachine

    monkeypatch.setattr(QmpMachine, "await_insertion", breaks)
    qemu = peer(Imitation())
    answer = run("vcpu", qmp_socket=qemu.address, vcpus=on("5"))
    assert (answer["error_code"], qemu.changes) == ("internal", ["device_add vcpu5"])
    assert answer["changed"] is True
    assert [step["vcpus"] for step in answer["steps"]] == ["5"]


def test_importing_a_module_imports_no_library_of_an_adapter() -> None:
    code = (
        "import sys\n"
        "from ansible_collections.kvm.hotplug.plugins.modules import vcpu, vcpu_info\n"
        "print([name for name in ('qemu.qmp', 'libvirt', 'lxml') if name in sys.modules])\n"
    )
    path = [str(Path(entry)) for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("enabled", "imported"), [("0-1", []), ("0-2", ["apply", "handshake", "ost_tracker"])])
def test_only_a_run_with_steps_imports_what_changes_a_guest(
    peer: StartPeer, monkeypatch: pytest.MonkeyPatch, enabled: str, imported: list[str]
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    out, err = start_module("vcpu", qmp_socket=peer(Imitation()).address, enabled=enabled).communicate()
    assert json.loads(out)["changed"] is bool(imported)
    files = {line.rpartition(".")[2] for line in err.splitlines() if "hotplug" in line}
    assert sorted(files & {"apply", "handshake", "ost_tracker", "unplug_request", "capacity"}) == imported


def test_a_module_in_a_separate_process_writes_one_result_and_nothing_else(peer: StartPeer) -> None:
    options = {"qmp_socket": peer(says(b"SSH-2.0-OpenSSH_9.2\r\n")).address, "timeout": 5}
    out, err = start_module("vcpu_info", **options).communicate()
    assert json.loads(out)["error_code"] == "monitor_unreachable"
    assert err == ""


def test_a_guest_without_an_agent_is_warned_of_unless_that_is_accepted(peer: StartPeer) -> None:
    warned = cost_of("vcpu", qmp_socket=peer(Imitation()).address, enabled="0-3").result
    assert len(warned["warnings"]) == 1
    assert "without an agent" in json.dumps(warned["warnings"])
    assert "kvm.hotplug.guest" in json.dumps(warned["warnings"])
    accepted = cost_of("vcpu", qmp_socket=peer(Imitation()).address, enabled="0-3", missing_agent="accept").result
    assert accepted.get("warnings", []) == []
    assert accepted["changed"] is True


def test_a_batch_warns_of_all_guests_without_an_agent_at_once(peer: StartPeer) -> None:
    names = [{"query-name": {"return": {"name": name}}} for name in ("a", "b", "c")]
    guests = [{"qmp_socket": peer(Imitation(answers=answers)).address} for answers in names]
    answer = cost_of(
        "vcpu_batch", guests=[*guests[:2], {**guests[2], "missing_agent": "accept"}], defaults={"count": 3}
    ).result
    text = json.dumps(answer["warnings"])
    assert len(answer["warnings"]) == 1
    assert "without an agent" in text
    assert [guest["qmp_socket"] in text for guest in guests] == [True, True, False]
    assert [guest["warnings"] for guest in answer["guests"]] == [[], [], []]


def test_two_monitors_of_one_qemu_are_one_guest(peer: StartPeer, run: RunModule) -> None:
    qemus = [peer(Imitation()), peer(Imitation())]
    answer = run("vcpu_batch", guests=[{"qmp_socket": qemu.address, "count": 3} for qemu in qemus], max_concurrency=1)
    assert [guest["changed"] for guest in answer["guests"]] == [True, False]
    assert "are the same guest: name each guest once" in answer["guests"][1]["msg"]
    assert qemus[1].changes == []
