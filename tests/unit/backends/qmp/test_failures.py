# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After a failure: steps are kept or undone, and reported correctly, even if the monitor is lost."""

from __future__ import annotations

import os
from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.monitor import Monitor
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.run.convergence import Convergence

from ...support.faulty_peers import answering, from_number, hang_up, instead, no_answer
from ...support.peer import AsUsual, Line, Message, Peer, Trick
from ...support.queries import bring, code, desired, enabled, entries, run, steps
from ...support.replay import OSPM, SLOTS
from ...support.scripted_qemu import FAILS, IS_REFUSED, REFUSES_FOR_GOOD, SAYS_NOTHING, WORKS_ON, Imitation

StartPeer = Callable[..., Peer]

ERROR: Message = {"error": {"class": "GenericError", "desc": "No."}}


async def dies(_line: Line) -> None:
    """Nobody is there any more."""


def details(result: Convergence) -> list[str]:
    return [entry.detail for entry in entries(result)]


def test_the_process_at_the_other_end_is_known_after_it_has_ended(peer: StartPeer) -> None:
    qemu = peer(Imitation().but("query-name", hang_up))

    async def work() -> int | None:
        monitor = Monitor(qemu.address, 10.0)
        await monitor.connect()
        with pytest.raises(HotplugError, match="was lost"):
            await monitor.execute("query-name")
        try:
            return monitor.peer_pid()
        finally:
            await monitor.close()

    assert run(work) == os.getpid()


def test_steps_before_a_failure_are_kept_and_reported(peer: StartPeer) -> None:
    qemu = peer(Imitation(unplug={1: REFUSES_FOR_GOOD}))
    result = bring(qemu.address, desired(enabled="2-3", disabled="1"))
    assert steps(result) == ["plug 2: done", "plug 3: done", "unplug 1: refused"]
    assert (code(result), enabled(result.after), result.changed) == ("unplug_refused", "0-3", True)


def test_rollback_undoes_completed_steps_in_reverse(peer: StartPeer) -> None:
    qemu = peer(Imitation(unplug={1: REFUSES_FOR_GOOD}))
    result = bring(qemu.address, desired(enabled="2-3", disabled="1"), rollback=True)
    assert steps(result) == ["plug 2: undone", "plug 3: undone", "unplug 1: refused"]
    assert qemu.changes[-2:] == ["device_del vcpu3", "device_del vcpu2"]
    assert (code(result), enabled(result.after), result.changed) == ("unplug_refused", "0-1", False)


def test_rollback_plugs_unplugged_vcpus_again(peer: StartPeer) -> None:
    qemu = peer(Imitation(plugged=(0, 1, 2, 3), unplug={1: REFUSES_FOR_GOOD}))
    result = bring(qemu.address, desired(disabled="1-3"), rollback=True)
    assert steps(result) == ["unplug 3: undone", "unplug 2: undone", "unplug 1: refused"]
    assert qemu.changes[-2:] == ["device_add vcpu2", "device_add vcpu3"]
    assert (enabled(result.after), result.changed) == ("0-3", False)


def test_rollback_undoes_plugs_that_the_guest_did_not_acknowledge(peer: StartPeer) -> None:
    qemu = peer(Imitation(plug={3: FAILS}))
    result = bring(qemu.address, desired(enabled="2-3"), rollback=True)
    assert steps(result) == ["plug 2: undone", "plug 3: undone"]
    assert (code(result), enabled(result.after), result.changed) == ("plug_unacknowledged", "0-1", False)


def test_a_step_that_could_not_be_undone_is_reported_and_is_a_change(peer: StartPeer) -> None:
    qemu = peer(Imitation(unplug={1: REFUSES_FOR_GOOD, 2: REFUSES_FOR_GOOD}))
    result = bring(qemu.address, desired(enabled="2-3", disabled="1"), rollback=True)
    assert steps(result) == ["plug 2: done", "plug 3: undone", "unplug 1: refused"]
    assert "undoing it failed" in details(result)[0]
    assert (code(result), enabled(result.after), result.changed) == ("unplug_refused", "0-2", True)


def test_an_unplug_that_stays_pending_after_a_rollback_is_reported_as_pending(peer: StartPeer) -> None:
    qemu = peer(Imitation(unplug={1: WORKS_ON}))
    result = bring(qemu.address, desired(enabled="2", disabled="1"), timeout=0.3, rollback=True)
    assert steps(result) == ["plug 2: undone", "unplug 1: pending"]
    assert (code(result), enabled(result.after), result.changed) == ("unplug_pending", "0-1", False)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_unplug_succeeds_though_qemu_refuses_to_list_the_notes(peer: StartPeer, number: int) -> None:
    qemu = peer(Imitation(plugged=(0, 1, 2)).but("query-chardev", from_number(number, answering(ERROR))))
    result = bring(qemu.address, desired(disabled="1-2"))
    assert (code(result), steps(result)) == (None, ["unplug 2: done", "unplug 1: done"])
    assert (enabled(result.after), result.changed) == ("0", True)


def test_after_a_monitor_is_lost_between_pipelined_plugs_each_step_has_its_own_status(peer: StartPeer) -> None:
    qemu = peer(Imitation().but("device_add", from_number(3, hang_up)))
    result = bring(qemu.address, desired(enabled="2-5"))
    assert code(result) == "connection_lost"
    assert steps(result) == ["plug 2: done", "plug 3: done", "plug 4: failed", "plug 5: failed"]
    # A new connection showed what had been reached.
    assert qemu.clients == 2
    assert (enabled(result.after), result.changed) == ("0-3", True)
    assert [entry.took_effect for entry in entries(result)] == [True, True, False, False]


def test_a_plug_that_was_done_before_the_monitor_was_lost_is_a_change(peer: StartPeer) -> None:
    async def dies_after_it(line: Line, _command: Message, as_usual: AsUsual) -> None:
        qemu_side.paths[2] = "/machine/peripheral/vcpu2"
        await line.close()

    qemu_side = Imitation()
    result = bring(peer(qemu_side.but("device_add", dies_after_it)).address, desired(enabled="2"))
    assert (code(result), steps(result)) == ("connection_lost", ["plug 2: done"])
    assert (enabled(result.after), result.changed) == ("0-2", True)


def test_a_plug_with_an_unknown_outcome_counts_as_a_change(peer: StartPeer) -> None:
    qemu = peer(Imitation().but("device_add", hang_up), dies)
    result = bring(qemu.address, desired(enabled="2"))
    assert (code(result), steps(result), result.changed) == ("connection_lost", ["plug 2: failed"], True)
    assert result.after is None
    assert "may be plugged or not" in details(result)[0]


def test_a_monitor_lost_before_the_verification_leaves_the_plug_done(peer: StartPeer) -> None:
    qemu = peer(Imitation().but(SLOTS, from_number(3, hang_up)), dies)
    result = bring(qemu.address, desired(enabled="2"))
    assert (code(result), steps(result), result.changed) == ("connection_lost", ["plug 2: done"], True)


def test_a_state_that_could_not_be_observed_after_the_change_is_not_reported(
    peer: StartPeer,
) -> None:
    qemu = peer(Imitation().but(SLOTS, from_number(3, hang_up)), dies)
    result = bring(qemu.address, desired(enabled="2"))
    assert enabled(result.after) in (None, "0-2")


def test_a_monitor_lost_during_an_unplug_leaves_it_unknown_until_observed(peer: StartPeer) -> None:
    qemu = peer(Imitation(plugged=(0, 1, 2), unplug={1: SAYS_NOTHING}).but(SLOTS, from_number(4, hang_up)), Imitation())
    result = bring(qemu.address, desired(disabled="1-2"))
    assert (code(result), steps(result)) == ("connection_lost", ["unplug 2: done", "unplug 1: pending"])
    assert (enabled(result.after), result.changed) == ("0-1", True)


def test_a_monitor_lost_during_the_only_unplug_is_no_change_if_the_vcpu_stays(
    peer: StartPeer,
) -> None:
    qemu = peer(Imitation(unplug={1: SAYS_NOTHING}).but(SLOTS, from_number(2, hang_up)), Imitation())
    result = bring(qemu.address, desired(disabled="1"))
    assert (code(result), steps(result), result.changed) == ("connection_lost", ["unplug 1: pending"], False)


def test_a_monitor_lost_during_a_rollback_leaves_the_rest_done(peer: StartPeer) -> None:
    qemu_side = Imitation(plug={4: IS_REFUSED}).but("device_del", from_number(2, hang_up))
    result = bring(peer(qemu_side).address, desired(enabled="2-4"), rollback=True)
    assert steps(result) == ["plug 2: done", "plug 3: undone", "plug 4: failed"]
    assert "undoing it failed" in details(result)[0]
    assert (enabled(result.after), result.changed) == ("0-2", True)


def test_a_monitor_lost_before_anything_was_sent_is_no_change(peer: StartPeer) -> None:
    qemu = peer(Imitation().but("query-name", hang_up))
    result = bring(qemu.address, desired(enabled="2"))
    assert (code(result), steps(result), result.changed, qemu.changes) == ("connection_lost", [], False, [])


@pytest.mark.parametrize("mute", ["query-status", "device_add", SLOTS])
def test_a_monitor_that_stops_replying_times_out_within_one_timeout(peer: StartPeer, mute: str) -> None:
    qemu = peer(Imitation().but(mute, no_answer))
    result = bring(qemu.address, desired(enabled="2"), patience=1)
    assert code(result) == "connection_lost"
    assert result.error is not None
    assert "no reply within 1 s" in result.error.msg


def test_an_unplug_without_a_reply_of_qemu_is_unknown_and_observed(peer: StartPeer) -> None:
    qemu = peer(Imitation().but("device_del", no_answer))
    result = bring(qemu.address, desired(disabled="1"), patience=1)
    assert (code(result), steps(result), result.changed) == ("connection_lost", ["unplug 1: pending"], False)
    assert enabled(result.after) == "0-1"


@pytest.mark.parametrize("trick", [answering(ERROR), instead([]), instead({}), instead([{"props": {}}])])
def test_invalid_replies_after_a_plug_do_not_hide_the_change(peer: StartPeer, trick: Trick) -> None:
    qemu = peer(Imitation().but(SLOTS, from_number(3, trick)))
    result = bring(qemu.address, desired(enabled="2"), timeout=1)
    assert len(entries(result)) == 1
    assert result.changed
    assert qemu.changes == ["device_add vcpu2"]


@pytest.mark.parametrize("trick", [answering(ERROR), instead([]), instead({}), instead([{"props": {}}])])
def test_invalid_replies_during_an_unplug_are_an_error_with_a_code(peer: StartPeer, trick: Trick) -> None:
    qemu = peer(Imitation().but(SLOTS, from_number(2, trick)))
    result = bring(qemu.address, desired(disabled="1"), timeout=1)
    assert code(result) in ("monitor_unreachable", "connection_lost", "internal")
    assert steps(result) == ["unplug 1: failed"]


def test_a_refused_status_query_does_not_end_the_wait_for_the_guest(peer: StartPeer) -> None:
    qemu = peer(Imitation(plug={5: SAYS_NOTHING}).but(OSPM, from_number(2, answering(ERROR))))
    result = bring(qemu.address, desired(enabled="5"), timeout=1)
    assert (code(result), steps(result), result.changed) == ("plug_unacknowledged", ["plug 5: pending"], True)
