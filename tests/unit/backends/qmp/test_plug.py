# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plugs with recorded replies of a guest and QEMU; and runs that send nothing."""

from __future__ import annotations

from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import (
    CountTarget,
    DesiredState,
    NodeTarget,
)

from ...support.peer import AsUsual, Line, Message, Peer
from ...support.queries import bring, code, desired, enabled, entries, look, steps
from ...support.replay import OSPM, SLOTS, Replay, versions
from ...support.scripted_qemu import FAILS, IS_REFUSED, SAYS_NOTHING, Imitation

StartPeer = Callable[..., Peer]


@pytest.mark.parametrize("version", versions("plug"))
def test_a_plug_is_done_when_the_guest_has_acknowledged_it(peer: StartPeer, version: str) -> None:
    recording = Replay("plug", version)
    qemu = peer(recording)
    result = bring(qemu.address, desired(enabled=recording.moved))
    assert steps(result) == [f"plug {recording.moved}: done"]
    assert (enabled(result.before), enabled(result.after)) == (recording.before, recording.after)
    assert result.changed
    assert qemu.changes == [f"device_add vcpu{recording.moved}"]


def test_a_plug_passes_the_props_of_the_slot_back_verbatim(peer: StartPeer) -> None:
    qemu = peer(Imitation())
    bring(qemu.address, desired(enabled="5"))
    sent = next(command["arguments"] for command in qemu.received if command["execute"] == "device_add")
    assert sent == {
        "driver": "qemu64-x86_64-cpu",
        "id": "vcpu5",
        "socket-id": 2,
        "core-id": 1,
        "thread-id": 0,
        "node-id": 1,
    }


def test_many_plugs_are_sent_at_once_and_verified_by_one_query(peer: StartPeer) -> None:
    recording = Replay("plug-many")
    qemu = peer(recording)
    result = bring(qemu.address, desired(enabled=recording.moved))
    assert {entry.status for entry in entries(result)} == {"done"}
    assert enabled(result.after) == recording.after
    first, many = qemu.commands.index("device_add"), len(qemu.changes)
    assert qemu.commands[first : first + many + 1] == ["device_add"] * many + [SLOTS]


def test_all_plugs_are_sent_before_qemu_has_answered_the_first(peer: StartPeer) -> None:
    async def answers_when_all_are_there(line: Line, command: Message, as_usual: AsUsual) -> None:
        waiting.append(as_usual)
        if len(waiting) == 3:
            for answer in waiting:
                await answer()

    waiting: list[AsUsual] = []
    qemu = peer(Imitation().but("device_add", answers_when_all_are_there))
    assert steps(bring(qemu.address, desired(enabled="2-4"))) == ["plug 2: done", "plug 3: done", "plug 4: done"]


@pytest.mark.parametrize("name", ["plug", "plug-many"])
def test_a_second_run_sends_nothing_that_changes_anything(peer: StartPeer, name: str) -> None:
    recording = Replay(name, past=-1)
    qemu = peer(recording)
    result = bring(qemu.address, desired(enabled=recording.moved))
    assert (steps(result), result.changed, qemu.changes) == ([], False, [])


@pytest.mark.parametrize("name", ["plug", "plug-many", "unplug", "unplug-boot-vcpu"])
def test_check_mode_predicts_the_result_of_a_run_and_sends_only_queries(peer: StartPeer, name: str) -> None:
    recording = Replay(name)
    wanted = desired(enabled=recording.after, exclusive=True)
    asked, told = peer(Replay(name)), peer(recording)
    predicted, reached = bring(asked.address, wanted, check_mode=True), bring(told.address, wanted)
    assert {command for command in asked.commands if not command.startswith(("query-", "qom-get", "qmp_"))} == set()
    assert predicted.changed
    assert reached.changed
    assert enabled(predicted.after) == enabled(reached.after) == recording.after
    assert [step.replace("planned", "done") for step in steps(predicted)] == steps(reached)


def test_a_count_on_a_node_plugs_its_lowest_vcpus(peer: StartPeer) -> None:
    qemu = peer(Imitation())
    assert steps(bring(qemu.address, NodeTarget({1: 2}))) == ["plug 4: done", "plug 5: done"]


def test_a_count_spread_over_the_nodes_evens_them_out(peer: StartPeer) -> None:
    qemu = peer(Imitation())
    assert enabled(bring(qemu.address, CountTarget(4, spread=True)).after) == "0-1,4-5"


def test_plugs_come_before_unplugs_so_that_the_guest_never_has_fewer(peer: StartPeer) -> None:
    qemu = peer(Imitation(plugged=(0, 1, 2)))
    bring(qemu.address, desired(enabled="6,7", disabled="1,2"))
    assert qemu.changes == ["device_add vcpu6", "device_add vcpu7", "device_del vcpu2", "device_del vcpu1"]


def test_a_plug_that_the_guest_never_acknowledges_is_a_change_and_a_failure(peer: StartPeer) -> None:
    qemu = peer(Imitation(plug={5: SAYS_NOTHING}))
    result = bring(qemu.address, desired(enabled="5"), timeout=0.5)
    assert (code(result), steps(result), result.changed) == ("plug_unacknowledged", ["plug 5: pending"], True)
    assert enabled(result.after) == "0-1,5"


def test_with_guest_online_ignore_the_run_does_not_wait_for_the_guest(peer: StartPeer) -> None:
    qemu = peer(Imitation(plug={5: SAYS_NOTHING}))
    result = bring(qemu.address, desired(enabled="5"), guest_online="ignore")
    assert (code(result), steps(result), result.changed) == (None, ["plug 5: done"], True)


def test_a_failed_insertion_is_a_failure_with_the_guests_code(peer: StartPeer) -> None:
    qemu = peer(Imitation(plug={5: FAILS}))
    result = bring(qemu.address, desired(enabled="5"))
    assert (code(result), steps(result), result.changed) == ("plug_unacknowledged", ["plug 5: failed"], True)
    assert result.error is not None
    assert "_OST 1/1" in result.error.msg


def test_an_acknowledgement_without_an_event_is_found_in_the_status_that_qemu_keeps(peer: StartPeer) -> None:
    async def loses_the_event(line: Line, command: Message, as_usual: AsUsual) -> None:
        qemu_side._plug = {5: SAYS_NOTHING}
        await as_usual()
        qemu_side._words[5] = (1, 0)

    qemu_side = Imitation()
    qemu = peer(qemu_side.but("device_add", loses_the_event))
    assert steps(bring(qemu.address, desired(enabled="5"))) == ["plug 5: done"]


def test_one_plug_that_qemu_refuses_leaves_the_others_done_and_is_reported_with_its_text(peer: StartPeer) -> None:
    qemu = peer(Imitation(plugged=(0, 1, 2), plug={4: IS_REFUSED}))
    result = bring(qemu.address, desired(enabled="3-5", disabled="1"))
    assert steps(result) == ["plug 3: done", "plug 4: failed", "plug 5: done", "unplug 1: skipped"]
    assert (enabled(result.after), result.changed) == ("0-3,5", True)
    assert result.error is not None
    assert "Cannot allocate memory" in result.error.msg


def test_a_vcpu_that_another_client_plugged_meanwhile_is_done_and_no_change(peer: StartPeer) -> None:
    async def was_faster(line: Line, command: Message, as_usual: AsUsual) -> None:
        qemu_side.paths[5] = "/machine/peripheral/theirs"
        error = {"class": "GenericError", "desc": "CPU[5] with APIC ID 5 exists"}
        await line.reply(command, {"error": error})

    qemu_side = Imitation()
    qemu = peer(qemu_side.but("device_add", was_faster))
    result = bring(qemu.address, desired(enabled="5"), timeout=2)
    assert (code(result), steps(result), result.changed) == (None, ["plug 5: done"], False)


def test_a_device_id_of_another_vcpu_is_not_used_again(peer: StartPeer) -> None:
    qemu_side = Imitation(plugged=(0, 1, 2))
    qemu_side.paths[2] = "/machine/peripheral/vcpu5"
    qemu = peer(qemu_side)
    assert steps(bring(qemu.address, desired(enabled="5"))) == ["plug 5: done"]
    assert qemu.changes == ["device_add kvm-hotplug-vcpu5"]


def test_observing_sends_all_queries_at_once_and_changes_nothing(peer: StartPeer) -> None:
    recording = Replay("unplug-boot-vcpu", past=-1)
    qemu = peer(recording)
    seen = look(qemu.address)
    assert enabled(seen) == recording.after
    assert seen.state.facts.name == "web1"
    assert seen.state.live is not None
    assert seen.state.live.aliases[2] == "vcpu2"
    assert 0 not in seen.state.live.aliases
    assert set(qemu.commands) == {
        "qmp_capabilities",
        SLOTS,
        OSPM,
        "query-cpus-fast",
        "query-status",
        "query-target",
        "query-name",
        "query-uuid",
        "query-migrate",
        "query-kvm",
        "query-chardev",
        "qom-get",
    }


@pytest.mark.parametrize("wanted", [desired(enabled="5"), desired(disabled="1")])
def test_a_guest_that_is_being_migrated_keeps_its_vcpus(peer: StartPeer, wanted: DesiredState) -> None:
    qemu = peer(Imitation(answers={"query-migrate": {"return": {"status": "active"}}}))
    result = bring(qemu.address, wanted)
    assert (code(result), qemu.changes) == ("migration_in_progress", [])
