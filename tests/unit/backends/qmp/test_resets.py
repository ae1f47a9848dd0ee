# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests that do not listen, or are reset in between: what they are asked, and how often, on each kind of machine."""

from __future__ import annotations

from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import ejection

from ...support.peer import AsUsual, Line, Message, Peer
from ...support.queries import bring, code, desired, enabled, entries, look, steps
from ...support.replay import OSPM, Replay
from ...support.scripted_qemu import PSERIES, Q35, SAYS_NOTHING, STAMP, Hardware, Imitation

StartPeer = Callable[..., Peer]

RESET: Message = {"event": "RESET", "data": {"guest": True, "reason": "guest-reset"}, **STAMP}
# A machine on which QEMU shows no register of enabled events, and reports what guests answer.
LOONGARCH = Hardware("q35", Q35.slots, {"query-target": {"return": {"arch": "loongarch64"}}})


class WithoutRegister(Imitation):
    """A guest on a machine that does not show which events it has enabled."""

    async def answer(self, line: Line, command: Message) -> None:
        if command.get("arguments", {}).get("path") == "/machine/acpi-device":
            await line.reply(command, {"error": {"class": "GenericError", "desc": "Property not found"}})
        else:
            await super().answer(line, command)


def resets_when_asked(guest: Imitation, times: int = 1, listens_after: bool = True) -> Imitation:
    """Let the guest be reset at the first requests, whose events it then never sees."""
    asked: list[Message] = []

    async def reset(line: Line, command: Message, as_usual: AsUsual) -> None:
        asked.append(command)
        if len(asked) > times:
            await as_usual()
            return
        await line.reply(command, {"return": {}})
        guest.listens = listens_after
        await line.say(RESET)

    guest.but("device_del", reset)
    return guest


def test_a_guest_that_does_not_listen_is_not_asked_and_leaves_no_note(peer: StartPeer) -> None:
    guest = Imitation()
    guest.listens = False
    qemu = peer(guest)
    result = bring(qemu.address, desired(disabled="1"), timeout=0.7)
    assert (code(result), steps(result), result.changed) == ("guest_not_ready", ["unplug 1: failed"], False)
    assert (qemu.changes, guest.chardevs) == ([], ["compat_monitor0"])


def test_a_guest_that_is_reset_after_it_was_asked_is_asked_again(peer: StartPeer) -> None:
    guest = resets_when_asked(Imitation())
    qemu = peer(guest)
    result = bring(qemu.address, desired(disabled="1"))
    assert (code(result), steps(result), result.changed, enabled(result.after)) == (
        None,
        ["unplug 1: done"],
        True,
        "0",
    )
    assert qemu.changes == ["device_del vcpu1"] * 2
    assert guest.chardevs == ["compat_monitor0"]


def test_a_guest_that_does_not_come_back_after_a_reset_leaves_the_unplug_pending_and_noted(peer: StartPeer) -> None:
    guest = resets_when_asked(Imitation(), listens_after=False)
    qemu = peer(guest)
    result = bring(qemu.address, desired(disabled="1"), timeout=1.5)
    assert (code(result), steps(result), result.changed) == ("unplug_pending", ["unplug 1: pending"], False)
    assert len(guest.chardevs) == 2
    seen = look(qemu.address)
    assert seen.state.live is not None
    assert seen.state.live.ejecting == {1}


def test_a_noted_request_is_not_that_of_another_vcpu_in_the_same_slot(peer: StartPeer) -> None:
    guest = Imitation()
    guest.chardevs.append("kvm-hotplug.unplug.1.4711")
    seen = look(peer(guest).address)
    assert seen.state.live is not None
    assert seen.state.live.ejecting == frozenset()


def test_a_refusal_settles_the_request(peer: StartPeer) -> None:
    recording = Replay("eject-not-supported")
    qemu = peer(recording)
    result = bring(qemu.address, desired(disabled=recording.moved))
    assert code(result) == "unplug_refused"
    assert recording._chardevs.labels == ["compat_monitor0"]


def test_a_pseries_guest_is_never_asked_twice_by_itself(peer: StartPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ejection, "SILENT_SECONDS", 0.3)
    qemu = peer(Imitation(plugged=(0, 1), hardware=PSERIES, unplug={1: SAYS_NOTHING}))
    result = bring(qemu.address, desired(disabled="8-15"), timeout=1.5)
    assert (code(result), steps(result)) == ("unplug_pending", ["unplug 8-15: pending"])
    assert qemu.changes == ["device_del vcpu8"]
    reset = peer(resets_when_asked(Imitation(plugged=(0, 1), hardware=PSERIES), times=9))
    assert code(bring(reset.address, desired(disabled="8-15"), timeout=1.5)) == "unplug_pending"
    assert reset.changes == ["device_del vcpu8"]


def test_where_it_is_unknown_whether_the_guest_listens_a_silent_one_is_asked_again(
    peer: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def notices_the_second(line: Line, command: Message, as_usual: AsUsual) -> None:
        asked.append(command)
        await (as_usual() if len(asked) > 1 else line.reply(command, {"return": {}}))

    monkeypatch.setattr(ejection, "SILENT_SECONDS", 0.3)
    asked: list[Message] = []
    qemu = peer(WithoutRegister(hardware=LOONGARCH).but("device_del", notices_the_second))
    result = bring(qemu.address, desired(disabled="1"))
    assert (code(result), steps(result), len(qemu.changes)) == (None, ["unplug 1: done"], 2)


def test_a_guest_that_listens_and_is_silent_is_asked_once(peer: StartPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ejection, "SILENT_SECONDS", 0.3)
    qemu = peer(Imitation(unplug={1: SAYS_NOTHING}))
    assert code(bring(qemu.address, desired(disabled="1"), timeout=1.5)) == "unplug_pending"
    assert qemu.changes == ["device_del vcpu1"]


def test_a_guest_that_is_reset_after_a_plug_finds_the_vcpu_as_it_boots(peer: StartPeer) -> None:
    async def comes_up(line: Line, command: Message, as_usual: AsUsual) -> None:
        asked.append(command)
        if len(asked) == 2:
            guest.listens = False
            await line.say(RESET)
        guest.listens = guest.listens or len(asked) > 3
        await as_usual()

    asked: list[Message] = []
    guest = Imitation(plug={5: SAYS_NOTHING})
    qemu = peer(guest.but(OSPM, comes_up))
    result = bring(qemu.address, desired(enabled="5"))
    assert (code(result), steps(result)) == (None, ["plug 5: done"])
    assert "as it booted" in entries(result)[0].detail


def test_a_refusal_of_qemu_in_unknown_words_is_no_defect(peer: StartPeer) -> None:
    async def refuses(line: Line, command: Message, as_usual: AsUsual) -> None:
        await line.reply(command, {"error": {"class": "GenericError", "desc": "the stars are not right"}})

    guest = Imitation()
    qemu = peer(guest.but("device_del", refuses))
    result = bring(qemu.address, desired(disabled="1"))
    assert (code(result), steps(result), result.changed) == ("not_hotpluggable", ["unplug 1: failed"], False)
    assert "the stars are not right" in entries(result)[0].detail
    assert guest.chardevs == ["compat_monitor0"]


def test_of_two_runs_one_removes_the_note_and_has_changed_something(peer: StartPeer) -> None:
    async def another_run_is_first(line: Line, command: Message, as_usual: AsUsual) -> None:
        guest.chardevs[1:] = []
        await as_usual()

    guest = Imitation()
    qemu = peer(guest.but("chardev-remove", another_run_is_first))
    result = bring(qemu.address, desired(disabled="1"))
    assert (code(result), steps(result), result.changed) == (None, ["unplug 1: done"], False)
    assert "another run" in entries(result)[0].detail
