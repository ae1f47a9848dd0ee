# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests under KVM: if the host refuses a vCPU that has run, no run plugs one unless it is forced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

import pytest
from hypothesis import given

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import host_kvm
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.reuse import read_exits
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import read_slots
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.notes import Note, read_notes
from ansible_collections.kvm.hotplug.plugins.module_utils.report.info import info_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import CountTarget

from ...support.peer import Line, Message, Peer
from ...support.queries import bring, code, desired, enabled, entries, look, steps
from ...support.scripted_qemu import REFUSES_FOR_GOOD, Imitation
from ...support.strategies import json_values

StartPeer = Callable[..., Peer]

KVM: Message = {"return": {"enabled": True, "present": True}}


class KvmGuest(Imitation):
    """A guest under KVM that QEMU started with vCPUs 0 and 1; of its vCPUs, those in ``idle`` have never run."""

    def __init__(self, plugged: tuple[int, ...] = (0, 1), idle: tuple[int, ...] = (), **options: Any) -> None:
        answers = {"query-kvm": KVM, **options.pop("answers", {})}
        super().__init__(plugged=plugged, answers=answers, **options)
        self._idle = idle

    async def answer(self, line: Line, command: Message) -> None:
        if command["execute"] == "query-stats" and "query-stats" not in self._answers:
            await line.reply(command, {"return": [self._stats(slot) for slot in self.paths]})
        else:
            await super().answer(line, command)

    def _stats(self, slot: int) -> Mapping[str, Any]:
        exits = {"name": "exits", "value": 0 if slot in self._idle else 4711}
        return {"provider": "kvm", "qom-path": self.paths[slot], "stats": [exits]}

    def ejected(self, *slots: int) -> KvmGuest:
        """Let these slots be empty because their vCPUs were unplugged."""
        for slot in slots:
            self.paths.pop(slot, None)
            self._words[slot] = (3, 0)
        return self


@pytest.mark.parametrize("takes_back", [False, None])
def test_a_former_boot_vcpu_is_not_plugged_again(peer: StartPeer, takes_back: bool | None) -> None:
    qemu = peer(KvmGuest().ejected(1))
    result = bring(qemu.address, desired(enabled="1"), takes_back=takes_back)
    assert (code(result), qemu.changes, result.changed) == ("not_hotpluggable", [], False)
    assert result.error is not None
    assert "the guest booted with it" in result.error.msg
    assert "force: true" in result.error.msg


def test_a_former_boot_vcpu_is_plugged_if_the_host_accepts_it(peer: StartPeer) -> None:
    result = bring(peer(KvmGuest().ejected(1)).address, desired(enabled="1"), takes_back=True)
    assert (code(result), steps(result), result.warnings[:-1]) == (None, ["plug 1: done"], [])


def test_a_former_boot_vcpu_is_plugged_by_force_with_a_warning(peer: StartPeer) -> None:
    result = bring(peer(KvmGuest().ejected(1)).address, desired(enabled="1"), takes_back=False, force=True)
    assert (code(result), steps(result)) == (None, ["plug 1: done"])
    assert "may end the guest" in result.warnings[0]


def test_tcg_accepts_every_vcpu_again(peer: StartPeer) -> None:
    qemu = peer(Imitation(plugged=(0,)))
    result = bring(qemu.address, desired(enabled="1"), takes_back=False)
    assert (code(result), steps(result)) == (None, ["plug 1: done"])
    assert "query-stats" not in qemu.commands


@pytest.mark.parametrize(("version", "asked"), [((7, 2), False), ((8, 0), False), ((8, 1), True), ((11, 1), True)])
def test_a_qemu_that_may_never_reply_to_query_stats_is_not_asked(
    peer: StartPeer, version: tuple[int, int], asked: bool
) -> None:
    qemu = peer(KvmGuest(plugged=(0, 1, 3), idle=(3,)).of_version(*version))
    result = bring(qemu.address, desired(disabled="3"), takes_back=False)
    assert (code(result), steps(result)) == (None, ["unplug 3: done"])
    assert ("query-stats" in qemu.commands) is asked
    # It is not known then that the vCPU has never run.
    assert ("vCPU 3 may not be plugged again" in " ".join(result.warnings)) is not asked


def test_a_count_enables_safe_slots_first_and_the_second_run_changes_nothing(peer: StartPeer) -> None:
    guest = KvmGuest().ejected(1)
    qemu = peer(guest)
    first = bring(qemu.address, CountTarget(3), takes_back=False)
    assert (steps(first), enabled(first.after)) == (["plug 2: done", "plug 3: done"], "0,2-3")
    assert steps(bring(qemu.address, CountTarget(3), takes_back=False)) == []


def test_a_count_that_needs_an_unsafe_slot_names_it_and_the_reason(peer: StartPeer) -> None:
    qemu = peer(KvmGuest().ejected(1))
    result = bring(qemu.address, CountTarget(8), takes_back=False)
    assert (code(result), qemu.changes) == ("count_unreachable", [])
    assert result.error is not None
    assert "can have 7 vCPUs at most, not 8" in result.error.msg
    assert "vCPU 1 cannot be enabled, because the guest booted with it" in result.error.msg
    assert (
        steps(bring(qemu.address, CountTarget(8), takes_back=False, force=True, check_mode=True))[0]
        == "plug 1: planned"
    )


def test_a_count_disables_plugged_vcpus_before_boot_vcpus(peer: StartPeer) -> None:
    smp = {"return": {"cpus": 4, "maxcpus": 8}}
    guest = KvmGuest(plugged=(0, 2, 3, 4), idle=(4,))
    # vCPU 1 was given up, so that by their ids alone 4 would be the one to keep.
    guest.ejected(1)._words[4] = (1, 0)
    qemu = peer(guest.but("qom-get", _smp(smp)))
    result = bring(qemu.address, CountTarget(3), takes_back=False)
    assert (steps(result), enabled(result.after)) == (["unplug 4: done"], "0,2-3")


@given(json_values)
def test_any_statistics_are_read(reply: object) -> None:
    slots = read_slots([{"type": "cpu", "vcpus-count": 1, "props": {"core-id": 0}, "qom-path": "/cpu"}])
    assert set(read_exits(slots, reply)) <= {0}
    assert set(read_exits(slots, [{"qom-path": "/cpu", "stats": reply}])) <= {0}
    assert set(read_exits(slots, [{"qom-path": "/cpu", "stats": [{"name": "exits", "value": reply}]}])) <= {0}


def test_only_names_in_the_format_of_notes_are_notes() -> None:
    labels = ["kvm-hotplug.never-ran.3.0", "kvm-hotplug.never-ran.3", "kvm-hotplug.x.3.0\n", "serial0", 7, None]
    assert read_notes([{"label": label} for label in labels] + [7, None]) == {Note("never-ran", 3)}
    assert read_notes(None) == frozenset()


def test_without_kvm_on_this_host_nothing_is_known_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_device(*_arguments: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr("os.open", no_such_device)
    host_kvm.takes_back_vcpus.cache_clear()
    assert host_kvm.takes_back_vcpus() is None
    host_kvm.takes_back_vcpus.cache_clear()


def test_the_unplug_of_a_vcpu_that_has_run_warns_that_it_may_not_be_plugged_again(peer: StartPeer) -> None:
    for check_mode in (True, False):
        result = bring(peer(KvmGuest()).address, desired(disabled="1"), takes_back=False, check_mode=check_mode)
        assert (code(result), result.warnings) == (None, [_warning(1, "the guest booted with it")])
    ran = bring(peer(KvmGuest(plugged=(0, 1, 3))).address, desired(disabled="3"), takes_back=False)
    assert ran.warnings == [_warning(3, "it has run")]


def test_there_is_no_warning_if_the_host_accepts_vcpus_again(peer: StartPeer) -> None:
    result = bring(peer(KvmGuest()).address, desired(disabled="1"), takes_back=True)
    assert (steps(result), result.warnings) == (["unplug 1: done"], [])


def test_a_vcpu_that_has_never_run_is_plugged_and_unplugged_in_several_runs(peer: StartPeer) -> None:
    guest = KvmGuest(idle=(3,))
    qemu = peer(guest)
    for _round in range(3):
        assert steps(bring(qemu.address, desired(enabled="3"), takes_back=False)) == ["plug 3: done"]
        assert guest.chardevs == ["compat_monitor0"]
        gone = bring(qemu.address, desired(disabled="3"), takes_back=False)
        assert (steps(gone), gone.warnings) == (["unplug 3: done"], [])
        assert guest.chardevs == ["compat_monitor0", "kvm-hotplug.never-ran.3.0"]


@pytest.mark.parametrize(("takes_back", "expected"), [(False, "not_hotpluggable"), (None, None), (True, None)])
def test_a_vcpu_that_may_have_run_is_plugged_again_unless_the_host_refuses(
    peer: StartPeer, takes_back: bool | None, expected: str | None
) -> None:
    qemu = peer(KvmGuest().ejected(3))
    assert code(bring(qemu.address, desired(enabled="3"), takes_back=takes_back)) == expected


def test_a_slot_that_never_had_a_vcpu_is_safe(peer: StartPeer) -> None:
    assert code(bring(peer(KvmGuest()).address, desired(enabled="2-7"), takes_back=False)) is None


def test_without_kvm_statistics_a_vcpu_is_assumed_to_have_run(peer: StartPeer) -> None:
    error: Message = {"error": {"class": "GenericError", "desc": "no stats"}}
    guest = KvmGuest(plugged=(0, 1, 3), answers={"query-stats": error})
    qemu = peer(guest)
    result = bring(qemu.address, desired(disabled="3"), takes_back=False)
    assert result.warnings == [_warning(3, "it may have run")]
    assert guest.chardevs == ["compat_monitor0"]


def test_rollback_does_not_plug_a_boot_vcpu_again(peer: StartPeer) -> None:
    qemu = peer(KvmGuest(plugged=(0, 1, 3), unplug={1: REFUSES_FOR_GOOD}))
    result = bring(qemu.address, desired(disabled="1,3"), takes_back=False, rollback=True, force=True)
    assert (code(result), steps(result)) == ("unplug_refused", ["unplug 3: done", "unplug 1: refused"])
    assert (result.changed, enabled(result.after)) == (True, "0-1")
    assert "undoing it failed: plugging it again may end the guest: it has run" in entries(result)[0].detail
    assert "device_add" not in qemu.commands


def test_info_returns_why_a_former_boot_vcpu_cannot_be_enabled(peer: StartPeer) -> None:
    vcpus = info_report(look(peer(KvmGuest().ejected(1)).address, takes_back=False))["vcpus"]
    assert (vcpus[1]["hotpluggable"], vcpus[1]["can_enable"]["code"]) == (False, "not_hotpluggable")
    assert "the guest booted with it" in vcpus[1]["can_enable"]["reason"]
    assert (vcpus[2]["hotpluggable"], vcpus[2]["can_enable"]) == (True, None)
    boot = info_report(look(peer(KvmGuest()).address, takes_back=False))["vcpus"][1]
    assert (boot["hotpluggable"], boot["can_disable"]) == (True, None)


def _warning(vcpu: int, why: str) -> str:
    return (
        f"vCPU {vcpu} may not be plugged again before the next start of QEMU: {why}, and QEMU would exit, because KVM "
        "on this host refuses a vCPU that has run"
    )


def _smp(reply: Message) -> Any:
    async def trick(line: Line, command: Message, as_usual: Any) -> None:
        if command["arguments"]["property"] == "smp":
            await line.reply(command, reply)
        else:
            await as_usual()

    return trick
