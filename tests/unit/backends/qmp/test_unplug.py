# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unplugs with recorded replies of guests: done, refused, pending and unacknowledged are distinguished."""

from __future__ import annotations

from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import ejection
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import NodeTarget

from ...support.peer import AsUsual, Line, Message, Peer
from ...support.queries import bring, code, desired, enabled, entries, steps
from ...support.replay import Replay, versions
from ...support.scripted_qemu import (
    BOOTS,
    FAILS,
    GOES,
    PSERIES,
    REFUSES,
    REFUSES_FOR_GOOD,
    SAYS_NOTHING,
    WORKS_ON,
    Imitation,
)

StartPeer = Callable[..., Peer]


@pytest.mark.parametrize("version", versions("unplug"))
def test_an_unplug_is_done_if_the_slot_is_empty_and_qemu_reported_only_the_lapic(peer: StartPeer, version: str) -> None:
    recording = Replay("unplug", version)
    qemu = peer(recording)
    result = bring(qemu.address, desired(disabled=recording.moved))
    assert (steps(result), result.changed) == ([f"unplug {recording.moved}: done"], True)
    assert (enabled(result.before), enabled(result.after)) == (recording.before, recording.after)
    assert qemu.changes == [f"device_del vcpu{recording.moved}"]


def test_an_offline_vcpu_is_unplugged_like_any_other(peer: StartPeer) -> None:
    recording = Replay("offline-in-guest")
    result = bring(peer(recording).address, desired(disabled=recording.moved))
    assert (steps(result), enabled(result.after)) == ([f"unplug {recording.moved}: done"], recording.after)


def test_a_boot_vcpu_other_than_0_is_unplugged_by_its_path(peer: StartPeer) -> None:
    recording = Replay("unplug-boot-vcpu")
    qemu = peer(recording)
    result = bring(qemu.address, desired(disabled="1"))
    assert (steps(result), enabled(result.after)) == (["unplug 1: done"], recording.after)
    asked = next(command["arguments"] for command in qemu.received if command["execute"] == "device_del")
    assert asked == {"id": "/machine/unattached/device[2]"}


def test_vcpu_0_is_refused_with_the_reason_before_anything_is_sent(peer: StartPeer) -> None:
    qemu = peer(Replay("unplug-vcpu-0"))
    result = bring(qemu.address, desired(disabled="0"))
    assert (code(result), qemu.changes, result.changed) == ("not_hotpluggable", [], False)
    assert result.error is not None
    assert "boot vCPU" in result.error.msg


@pytest.mark.parametrize("version", versions("refused"))
def test_a_busy_guest_is_asked_again_while_the_timeout_lasts_and_then_has_refused(
    peer: StartPeer, version: str
) -> None:
    recording = Replay("refused", version, again=True)
    qemu = peer(recording)
    result = bring(qemu.address, desired(disabled=recording.moved), timeout=2)
    assert (code(result), steps(result)) == ("unplug_refused", [f"unplug {recording.moved}: refused"])
    assert (enabled(result.after), result.changed) == (recording.before, False)
    assert len(qemu.changes) > 1
    assert result.error is not None
    assert "the CPU is busy (_OST 3/130)" in result.error.msg


def test_a_guest_that_was_busy_once_is_asked_again_and_gives_the_vcpu_up(peer: StartPeer) -> None:
    recording = Replay("refused-once")
    qemu = peer(recording)
    result = bring(qemu.address, desired(disabled=recording.moved))
    assert (steps(result), enabled(result.after)) == ([f"unplug {recording.moved}: done"], recording.after)
    assert qemu.changes == [f"device_del vcpu{recording.moved}"] * 2


def test_a_final_refusal_ends_the_unplug_immediately(peer: StartPeer) -> None:
    recording = Replay("eject-not-supported")
    qemu = peer(recording)
    result = bring(qemu.address, desired(disabled=recording.moved), timeout=1000)
    assert (code(result), steps(result)) == ("unplug_refused", [f"unplug {recording.moved}: refused"])
    assert (len(qemu.changes), result.changed) == (1, False)
    assert result.error is not None
    assert "have the guest OS offline the CPU" in result.error.msg
    assert "free it" not in result.error.msg


def test_a_guest_that_fails_because_it_still_boots_is_asked_again(peer: StartPeer) -> None:
    qemu = peer(Imitation(unplug={1: BOOTS}))
    result = bring(qemu.address, desired(disabled="1"))
    assert (steps(result), enabled(result.after)) == (["unplug 1: done"], "0")
    assert len(qemu.changes) == 2


def test_a_guest_that_fails_for_good_is_not_asked_until_the_end_of_the_timeout(
    peer: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ejection, "FAILING_SECONDS", 1.0)
    qemu = peer(Imitation(unplug={1: FAILS}))
    result = bring(qemu.address, desired(disabled="1"), timeout=1000)
    assert (code(result), steps(result), result.changed) == ("unplug_refused", ["unplug 1: refused"], False)
    assert "an unspecific failure (_OST 3/1)" in entries(result)[0].detail
    assert len(qemu.changes) == 2


def test_the_first_refusal_ends_the_run_and_the_rest_is_skipped(peer: StartPeer) -> None:
    qemu = peer(Imitation(plugged=(0, 1, 2, 3), unplug={2: REFUSES_FOR_GOOD}))
    result = bring(qemu.address, desired(disabled="1-3"))
    assert steps(result) == ["unplug 3: done", "unplug 2: refused", "unplug 1: skipped"]
    assert (enabled(result.after), result.changed) == ("0-2", True)


def test_vcpus_are_unplugged_one_at_a_time_the_highest_first(peer: StartPeer) -> None:
    qemu = peer(Imitation(plugged=range(8)))
    result = bring(qemu.address, NodeTarget({1: "disabled"}))
    assert qemu.changes == [f"device_del vcpu{vcpu}" for vcpu in (7, 6, 5, 4)]
    first = qemu.commands.index("device_del")
    assert qemu.commands[first + 1] != "device_del"
    assert enabled(result.after) == "0-3"


def test_a_guest_that_is_still_at_it_when_the_time_is_up_leaves_the_unplug_pending(peer: StartPeer) -> None:
    recording = Replay("late", without="device_add")
    result = bring(peer(recording).address, desired(disabled=recording.moved), timeout=1.5)
    assert (code(result), steps(result)) == ("unplug_pending", [f"unplug {recording.moved}: pending"])
    assert (enabled(result.after), result.changed) == (recording.before, False)
    assert "is still processing it" in entries(result)[0].detail


def test_an_unacknowledged_unplug_is_distinguished_from_one_in_progress(peer: StartPeer) -> None:
    qemu = peer(Imitation(unplug={1: SAYS_NOTHING}))
    result = bring(qemu.address, desired(disabled="1"), timeout=0.5)
    assert (code(result), steps(result)) == ("unplug_pending", ["unplug 1: pending"])
    assert "has reported nothing" in entries(result)[0].detail


def test_a_pending_unplug_that_completed_is_found_done_by_the_next_run(peer: StartPeer) -> None:
    recording = Replay("late", without="device_add", past=-1)
    qemu = peer(recording)
    result = bring(qemu.address, desired(disabled=recording.moved))
    assert (steps(result), result.changed, qemu.changes) == ([], False, [])


def test_a_run_waits_for_a_pending_unplug_and_does_not_request_it_twice(peer: StartPeer) -> None:
    recording = Replay("adopted")
    qemu = peer(recording)
    result = bring(qemu.address, desired(enabled=recording.after, exclusive=True))
    assert [entry.status for entry in entries(result)] == ["done"]
    assert (enabled(result.before), enabled(result.after)) == (recording.before, recording.after)
    assert qemu.changes == []


def test_a_pending_unplug_without_further_reports_is_requested_again(peer: StartPeer) -> None:
    recording = Replay("late", without="device_add", past=1)
    qemu = peer(recording)
    result = bring(qemu.address, desired(disabled=recording.moved), timeout=4)
    assert (steps(result), enabled(result.after)) == ([f"unplug {recording.moved}: done"], recording.after)
    assert qemu.changes == [f"device_del vcpu{recording.moved}"]


def test_check_mode_does_not_repeat_the_request_of_a_pending_unplug(peer: StartPeer) -> None:
    recording = Replay("late", without="device_add", past=1)
    qemu = peer(recording)
    result = bring(qemu.address, desired(disabled=recording.moved), check_mode=True)
    assert (steps(result), qemu.changes) == ([f"unplug {recording.moved}: planned"], [])


def test_a_vcpu_whose_unplug_is_in_progress_is_plugged_again_after_it(peer: StartPeer) -> None:
    qemu_side = Imitation(plugged=(0, 1, 5))
    qemu_side._words[5] = (3, 132)

    async def removed_at_second_query(line: Line, command: Message, as_usual: AsUsual) -> None:
        await as_usual()
        looks.append(command)
        if len(looks) == 2:
            del qemu_side.paths[5]
            qemu_side._words[5] = (3, 0)

    looks: list[Message] = []
    qemu = peer(qemu_side.but("query-hotpluggable-cpus", removed_at_second_query))
    result = bring(qemu.address, desired(enabled="5"))
    assert (code(result), steps(result), result.changed) == (None, ["plug 5: done"], True)
    assert qemu.changes == ["device_add vcpu5"]


def test_enabling_a_vcpu_whose_unplug_does_not_end_is_pending(peer: StartPeer) -> None:
    recording = Replay("late", without="device_add", past=1)
    qemu = peer(recording)
    result = bring(qemu.address, desired(enabled=recording.moved), timeout=1.5)
    assert (code(result), steps(result), result.changed) == ("unplug_pending", [], False)
    assert qemu.changes == []


def test_an_unplug_that_another_client_completed_is_done_and_no_change(peer: StartPeer) -> None:
    async def is_gone(line: Line, command: Message, as_usual: AsUsual) -> None:
        del qemu_side.paths[1]
        await line.reply(command, {"error": {"class": "DeviceNotFound", "desc": "Device '...' not found"}})

    qemu_side = Imitation()
    qemu = peer(qemu_side.but("device_del", is_gone))
    result = bring(qemu.address, desired(disabled="1"))
    assert (steps(result), result.changed) == (["unplug 1: done"], False)


def test_a_whole_core_is_unplugged_at_once_on_pseries(peer: StartPeer) -> None:
    qemu = peer(Imitation(plugged=(0, 1), hardware=PSERIES))
    result = bring(qemu.address, desired(disabled="8-15"))
    assert (steps(result), enabled(result.after)) == (["unplug 8-15: done"], "0-7")
    assert qemu.changes == ["device_del vcpu8"]


def test_a_pseries_guest_refuses_by_an_error_event(peer: StartPeer) -> None:
    qemu = peer(Imitation(plugged=(0, 1), hardware=PSERIES, unplug={1: REFUSES}))
    result = bring(qemu.address, desired(disabled="8-15"), timeout=2)
    assert (code(result), steps(result), result.changed) == ("unplug_refused", ["unplug 8-15: refused"], False)
    assert enabled(result.after) == "0-15"


def test_a_pseries_core_is_plugged_without_an_acknowledgement(peer: StartPeer) -> None:
    qemu = peer(Imitation(plugged=(0,), hardware=PSERIES))
    result = bring(qemu.address, desired(enabled="9"), whole_cores=True)
    assert (code(result), steps(result), enabled(result.after)) == (None, ["plug 8-15: done"], "0-15")
    assert result.is_unverified


def test_a_part_of_a_core_is_refused_with_the_ids_of_its_siblings(peer: StartPeer) -> None:
    qemu = peer(Imitation(plugged=(0,), hardware=PSERIES))
    result = bring(qemu.address, desired(enabled="9"))
    assert (code(result), qemu.changes) == ("partial_entity", [])
    assert result.error is not None
    assert "8,10-15" in result.error.msg


@pytest.mark.parametrize("manner", [WORKS_ON, SAYS_NOTHING, REFUSES, GOES])
def test_no_guest_takes_longer_than_the_timeout(peer: StartPeer, manner: str) -> None:
    qemu = peer(Imitation(unplug={1: manner}))
    result = bring(qemu.address, desired(disabled="1"), timeout=0.5)
    # Generous: a machine may be slow, but it shall not be waiting.
    assert entries(result)[0].seconds < 15
