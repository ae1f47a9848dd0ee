# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests that cannot reply now, and machines without hotplug: each has its own code, and nothing is sent in vain."""

from __future__ import annotations

from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import CountTarget, DesiredState

from ...support.peer import AsUsual, Line, Message, Peer
from ...support.queries import bring, code, desired, enabled, entries, look, steps
from ...support.replay import OSPM, SLOTS, Replay, versions
from ...support.scripted_qemu import SAYS_NOTHING, Imitation

StartPeer = Callable[..., Peer]

NOT_READY: Message = {
    "error": {
        "class": "GenericError",
        "desc": "acpi: device unplug request for not supported device type: qemu64-x86_64-cpu",
    }
}


@pytest.mark.parametrize("version", versions("firmware-unplug"))
def test_a_guest_in_its_firmware_is_asked_until_the_time_is_up_and_was_not_ready(peer: StartPeer, version: str) -> None:
    qemu = peer(Replay("firmware-unplug", version, again=True))
    result = bring(qemu.address, desired(disabled="1"), timeout=0.7)
    assert (code(result), steps(result), result.changed) == ("guest_not_ready", ["unplug 1: failed"], False)
    assert enabled(result.after) == "0-1"
    assert result.error is not None
    assert "run the task again" in result.error.msg


def test_a_guest_that_leaves_its_firmware_within_the_timeout_gives_the_vcpu_up(peer: StartPeer) -> None:
    async def boots_meanwhile(line: Line, command: Message, as_usual: AsUsual) -> None:
        asked.append(command)
        await (line.reply(command, NOT_READY) if len(asked) < 3 else as_usual())

    asked: list[Message] = []
    qemu = peer(Imitation().but("device_del", boots_meanwhile))
    result = bring(qemu.address, desired(disabled="1"))
    assert (code(result), steps(result), enabled(result.after)) == (None, ["unplug 1: done"], "0")


@pytest.mark.parametrize("version", versions("firmware-plug"))
def test_a_guest_in_its_firmware_does_not_acknowledge_a_plug(peer: StartPeer, version: str) -> None:
    qemu = peer(Replay("firmware-plug", version))
    result = bring(qemu.address, desired(enabled="5"), timeout=0.7)
    assert (code(result), steps(result), result.changed) == ("plug_unacknowledged", ["plug 5: pending"], True)
    assert enabled(result.after) == "0-1,5"
    assert "cannot detect it yet" in entries(result)[0].detail


def test_a_guest_that_boots_after_the_plug_has_found_the_vcpu_in_its_tables(peer: StartPeer) -> None:
    async def comes_up(line: Line, command: Message, as_usual: AsUsual) -> None:
        asked.append(command)
        guest.listens = len(asked) > 2
        await as_usual()

    asked: list[Message] = []
    guest = Imitation(plug={5: SAYS_NOTHING})
    guest.listens = False
    qemu = peer(guest.but(OSPM, comes_up))
    result = bring(qemu.address, desired(enabled="5"))
    assert (code(result), steps(result)) == (None, ["plug 5: done"])
    assert "as it booted" in entries(result)[0].detail


@pytest.mark.parametrize("version", versions("not-started-unplug"))
def test_no_unplug_is_requested_from_a_guest_that_was_not_started(peer: StartPeer, version: str) -> None:
    qemu = peer(Replay("not-started-unplug", version))
    result = bring(qemu.address, desired(disabled="1"))
    assert (code(result), steps(result), qemu.changes) == ("guest_not_ready", [], [])
    assert result.error is not None
    assert "resume or start the guest" in result.error.msg


def test_no_unplug_is_requested_from_a_stopped_guest(peer: StartPeer) -> None:
    recording = Replay("stopped", past=1)
    qemu = peer(recording)
    result = bring(qemu.address, desired(disabled="3"))
    assert (code(result), qemu.changes, result.changed) == ("guest_not_ready", [], False)


@pytest.mark.parametrize("version", versions("not-started-plug"))
def test_a_plug_into_a_guest_that_was_not_started_warns_when_it_is_detected(peer: StartPeer, version: str) -> None:
    qemu = peer(Replay("not-started-plug", version))
    result = bring(qemu.address, desired(enabled="5"))
    assert (code(result), steps(result), enabled(result.after)) == (None, ["plug 5: done"], "0-1,5")
    assert any("when it runs" in warning for warning in result.warnings)


def test_with_guest_online_verify_and_no_agent_nothing_is_plugged(peer: StartPeer) -> None:
    qemu = peer(Imitation())
    result = bring(qemu.address, desired(enabled="5"), guest_online="verify")
    assert (code(result), qemu.changes) == ("agent_unavailable", [])


def test_with_guest_online_verify_nothing_is_plugged_into_a_guest_that_cannot_reply(peer: StartPeer) -> None:
    qemu = peer(Replay("not-started-plug"))
    result = bring(qemu.address, desired(enabled="5"), guest_online="verify")
    assert (code(result), qemu.changes, result.changed) == ("guest_not_ready", [], False)


@pytest.mark.parametrize("version", versions("microvm"))
def test_a_machine_without_cpu_hotplug_is_refused_before_anything_is_sent(peer: StartPeer, version: str) -> None:
    qemu = peer(Replay("microvm", version, usual="microvm"))
    result = bring(qemu.address, desired(enabled="1"))
    assert (code(result), qemu.changes, result.changed) == ("hotplug_unsupported", [], False)
    assert result.error is not None
    assert "machine type that has CPU hotplug" in result.error.msg


def test_a_machine_without_cpu_hotplug_keeps_its_vcpus(peer: StartPeer) -> None:
    qemu = peer(Replay("microvm", usual="microvm"))
    result = bring(qemu.address, desired(disabled="0"))
    assert (code(result), qemu.changes) == ("hotplug_unsupported", [])


@pytest.mark.parametrize(
    "wanted", [desired(enabled="0"), desired(disabled="1-3"), CountTarget(1), desired("0", exclusive=True)]
)
def test_the_present_state_succeeds_even_without_cpu_hotplug(peer: StartPeer, wanted: DesiredState) -> None:
    qemu = peer(Replay("microvm", usual="microvm"))
    result = bring(qemu.address, wanted)
    assert (code(result), steps(result), result.changed) == (None, [], False)


def test_a_machine_without_cpu_hotplug_shows_its_present_and_possible_vcpus(peer: StartPeer) -> None:
    seen = look(peer(Replay("microvm", usual="microvm")).address)
    assert (enabled(seen), seen.state.layout.max_vcpus) == ("0", 4)
    assert seen.state.facts.machine == "microvm"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (desired(enabled="8"), "unknown_vcpu"),
        (desired(disabled="7-9"), "unknown_vcpu"),
        (CountTarget(9), "count_unreachable"),
        (desired(enabled="1", exclusive=True), "not_hotpluggable"),
    ],
)
def test_a_state_that_this_guest_cannot_have_is_refused_before_anything_is_sent(
    peer: StartPeer, wanted: DesiredState, expected: str
) -> None:
    qemu = peer(Imitation())
    result = bring(qemu.address, wanted)
    assert (code(result), steps(result), qemu.changes) == (expected, [], [])
    assert qemu.commands.count(SLOTS) == 1
