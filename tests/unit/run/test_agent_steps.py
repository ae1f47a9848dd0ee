# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan whose agent fails during the run: kept or rolled back, and reported correctly."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import DirectSource
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    AGENT_ERROR,
    AGENT_UNAVAILABLE,
    NOT_HOTPLUGGABLE,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, GuestFacts, LiveState
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import AgentView, GuestVcpu, SetResult
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, MachineView, StepOutcome
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import (
    CountTarget,
    DesiredState,
    VcpuTarget,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.convergence import Convergence

from ..support.guests import layout
from ..support.queries import code, converge, desired, enabled, steps

SILENCE = HotplugError(AGENT_UNAVAILABLE, "the agent does not answer")


class MadeUpGuest:
    """A machine of 8 vCPUs, and ``agent``, the agent in its guest.

    ``silent`` are the requests to online or offline, counted from 1, that get no answer; of these, ``deaf`` ones are
    not carried out either. ``broken`` is a vCPU that can be neither plugged nor unplugged.
    """

    def __init__(
        self,
        has: str = "012",
        silent: Container[int] = (),
        deaf: Container[int] = range(1, 100),
        broken: int | None = None,
        migrated: bool = False,
    ) -> None:
        self.layout = layout(sockets=4)
        self.enabled = {int(number) for number in has}
        self.online = set(self.enabled)
        self.agent = MadeUpAgent(self, silent, deaf)
        self._broken = broken
        self._migrated = migrated

    async def observe(self) -> MachineView:
        live = LiveState(enabled=frozenset(self.enabled), migrated=self._migrated)
        return MachineView(GuestFacts(state="running"), self.layout, live)

    def latest(self) -> MachineView:
        return MachineView(GuestFacts(state="running"), self.layout, LiveState(enabled=frozenset(self.enabled)))

    async def plug(self, entities: Sequence[Entity]) -> dict[int, StepOutcome]:
        answers = {}
        for entity in entities:
            if entity.index == self._broken:
                answers[entity.index] = StepOutcome(FAILED, detail="no", code=NOT_HOTPLUGGABLE)
            else:
                self.enabled.update(entity.vcpus)
                answers[entity.index] = StepOutcome(DONE, took_effect=True)
        return answers

    async def await_insertion(self, entities: Sequence[Entity], timeout: float) -> dict[int, StepOutcome]:
        return {entity.index: StepOutcome(DONE, took_effect=True) for entity in entities}

    async def unplug(self, entity: Entity, timeout: float) -> StepOutcome:
        if entity.index == self._broken:
            return StepOutcome(FAILED, detail="no", code=NOT_HOTPLUGGABLE)
        self.enabled.difference_update(entity.vcpus)
        self.online.difference_update(entity.vcpus)
        return StepOutcome(DONE, took_effect=True)

    async def settle(self, entities: Sequence[Entity], timeout: float) -> None:
        raise AssertionError

    async def close(self) -> None:
        return None


class MadeUpAgent:
    """The agent in a guest of the same vCPUs; by default the guest sees each vCPU at once."""

    def __init__(self, guest: MadeUpGuest, silent: Container[int], deaf: Container[int]) -> None:
        self.guest = guest
        self.requests = 0
        self._silent = silent
        self._deaf = deaf

    async def observe(self, plugged: Collection[int] | None) -> AgentView:
        return AgentView({vcpu: GuestVcpu(vcpu in self.guest.online, vcpu != 0) for vcpu in self.guest.enabled})

    async def set_online(self, wanted: Mapping[int, bool]) -> SetResult:
        self.requests += 1
        silent = self.requests in self._silent
        if not (silent and self.requests in self._deaf):
            self.guest.online ^= {vcpu for vcpu, on in wanted.items() if on is not (vcpu in self.guest.online)}
        if silent:
            raise SILENCE
        return SetResult(tuple(wanted))

    async def close(self) -> None:
        return None


def bring(guest: MadeUpGuest, enable: str = "", disable: str = "", **how: Any) -> Convergence:
    async def machine() -> MadeUpGuest:
        return guest

    return converge(
        DirectSource(machine, make_agent=lambda: guest.agent), Request(desired(enable, disable), timeout=0.5, **how)
    )


def test_an_agent_that_stops_replying_after_a_plug_is_a_failure_with_rollback() -> None:
    guest = MadeUpGuest(silent=[1])
    result = bring(guest, "3-4", rollback=True)
    assert (code(result), result.changed, enabled(result.after)) == ("agent_unavailable", False, "0-2")
    assert steps(result) == ["plug 3: undone", "plug 4: undone", "online 3: undone", "online 4: undone"]


def test_without_a_rollback_the_plug_stays_and_the_online_state_is_reported() -> None:
    guest = MadeUpGuest(silent=[1])
    result = bring(guest, "3")
    assert (code(result), result.changed, enabled(result.after)) == ("agent_unavailable", True, "0-3")
    assert steps(result) == ["plug 3: done", "online 3: failed"]
    assert guest.online == {0, 1, 2}


def test_a_request_that_was_executed_without_a_reply_is_found_done() -> None:
    result = bring(MadeUpGuest(silent=[1], deaf=()), "3")
    assert (code(result), steps(result)) == ("agent_unavailable", ["plug 3: done", "online 3: done"])


def test_plugged_vcpus_are_onlined_even_if_another_could_not_be() -> None:
    guest = MadeUpGuest(broken=4)
    result = bring(guest, "3-5")
    assert (code(result), result.changed) == ("not_hotpluggable", True)
    assert steps(result)[:3] == ["plug 3: done", "plug 4: failed", "plug 5: done"]
    assert steps(result)[3:] == ["online 3: done", "online 4: skipped", "online 5: done"]
    assert guest.online == {0, 1, 2, 3, 5}


def test_a_vcpu_that_is_unplugged_by_the_rollback_is_not_onlined_first() -> None:
    guest = MadeUpGuest(broken=4, silent=[1])
    result = bring(guest, "3-4", rollback=True)
    assert (code(result), result.changed) == ("not_hotpluggable", False)
    assert steps(result) == ["plug 3: undone", "plug 4: failed", "online 3: skipped", "online 4: skipped"]


def test_a_drain_without_a_reply_is_undone_and_nothing_is_unplugged() -> None:
    guest = MadeUpGuest(silent=[1], deaf=())
    result = bring(guest, disable="2")
    assert (code(result), result.changed) == ("agent_unavailable", False)
    assert steps(result) == ["offline 2: undone", "unplug 2: skipped"]
    assert (guest.online, guest.enabled) == ({0, 1, 2}, {0, 1, 2})


def test_a_drain_that_cannot_be_undone_is_reported() -> None:
    guest = MadeUpGuest(silent=range(1, 100), deaf=range(2, 100))
    result = bring(guest, disable="2")
    assert (code(result), result.changed) == ("agent_unavailable", True)
    assert steps(result) == ["offline 2: done", "unplug 2: skipped"]
    assert (guest.online, guest.enabled) == ({0, 1}, {0, 1, 2})


@pytest.mark.parametrize("silent", [(), (2,)])
def test_a_core_that_is_only_partly_drained_is_online_again(silent: Container[int]) -> None:
    class HalfBusy(MadeUpAgent):
        async def set_online(self, wanted: Mapping[int, bool]) -> SetResult:
            if wanted != {2: False, 3: False}:
                return await super().set_online(wanted)
            self.requests += 1
            self.guest.online.discard(2)
            return SetResult((2,), 3, "agent_error", "CPU 3 is busy", refused=True)

    guest = MadeUpGuest("0123")
    guest.agent = HalfBusy(guest, silent, range(1, 100))
    guest.layout = layout(sockets=4, cores=1, threads=2, whole_core_entities=True)
    result = bring(guest, disable="2-3")
    assert (code(result), result.changed, guest.online) == ("unplug_refused", False, {0, 1, 2, 3})
    assert steps(result) == [f"offline 2-3: {'undone' if silent else 'refused'}", "unplug 2-3: skipped"]


def test_a_rollback_undoes_the_live_steps_even_if_the_agent_does_not_reply() -> None:
    # Onlined 5, offlined 3, 2 and 1, and onlined 1 again, which stayed: the sixth request is to online 2 again.
    guest = MadeUpGuest(has="0123", broken=1, silent=range(6, 100))
    result = bring(guest, "5", "1-3", rollback=True)
    assert (code(result), result.changed) == ("not_hotpluggable", True)
    assert steps(result)[:4] == ["plug 5: undone", "online 5: undone", "offline 3: done", "unplug 3: undone"]
    assert (guest.online, guest.enabled) == ({0, 1}, {0, 1, 2, 3})


def test_the_outcome_of_method_agent_without_a_reply_is_observed() -> None:
    done = bring(MadeUpGuest(silent=[1], deaf=()), disable="2", by_agent=True)
    assert (code(done), done.changed, steps(done)) == ("agent_unavailable", True, ["offline 2: done"])
    deaf = bring(MadeUpGuest(silent=[1]), disable="2", by_agent=True)
    assert (code(deaf), deaf.changed, steps(deaf)) == ("agent_unavailable", False, ["offline 2: failed"])


def test_method_agent_rolls_back_steps_with_an_unknown_outcome() -> None:
    guest = MadeUpGuest(silent=[1], deaf=())
    result = bring(guest, disable="1-2", by_agent=True, rollback=True)
    assert (code(result), result.changed, guest.online) == ("agent_unavailable", False, {0, 1, 2})


@pytest.mark.parametrize(("refused", "word"), [(True, "refused"), (False, "failed")])
def test_the_completed_steps_of_method_agent_are_reported(refused: bool, word: str) -> None:
    class Halfway(MadeUpAgent):
        async def set_online(self, wanted: Mapping[int, bool]) -> SetResult:
            first, second = list(wanted)[:2]
            self.guest.online.discard(first)
            return SetResult((first,), second, SILENCE.code, "busy", refused)

    guest = MadeUpGuest("0123")
    guest.agent = Halfway(guest, (), ())
    result = bring(guest, disable="1-3", by_agent=True)
    assert (code(result), result.changed) == ("agent_unavailable", True)
    assert steps(result) == [
        "offline 3: done",
        f"offline 2: {word}",
        f"offline 1: {'skipped' if refused else 'failed'}",
    ]


def test_method_agent_for_more_than_the_plugged_vcpus_names_the_remedy() -> None:
    async def machine() -> MadeUpGuest:
        return guest

    guest = MadeUpGuest("012")
    source = DirectSource(machine, make_agent=lambda: guest.agent)
    result = converge(source, Request(CountTarget(7), by_agent=True))
    assert code(result) == "count_unreachable"
    assert result.error is not None
    assert "plug it first, with method hotplug" in result.error.msg
    assert "start the guest with more" not in result.error.msg


@pytest.mark.parametrize("wanted", [CountTarget(7), VcpuTarget(frozenset({6}), frozenset())])
def test_an_agent_alone_does_not_show_how_many_vcpus_the_machine_can_have(wanted: DesiredState) -> None:
    guest = MadeUpGuest("012")
    result = converge(DirectSource(make_agent=lambda: guest.agent), Request(wanted, by_agent=True))
    assert code(result) in ("count_unreachable", "unknown_vcpu")
    assert result.error is not None
    assert "plug more vCPUs first, with method hotplug" in result.error.msg
    assert "start the guest" not in result.error.msg


def test_a_guest_os_that_refuses_to_offline_a_vcpu_is_named_as_what_holds_it() -> None:
    class Stubborn(MadeUpAgent):
        async def set_online(self, wanted: Mapping[int, bool]) -> SetResult:
            return SetResult((), next(iter(wanted)), AGENT_ERROR, "the guest refused", refused=True)

    guest = MadeUpGuest()
    guest.agent = Stubborn(guest, (), ())
    result = bring(guest, disable="2")
    assert (code(result), result.changed) == ("unplug_refused", False)
    assert result.error is not None
    assert "nothing was unplugged; see the guest's kernel log for what uses the CPU" in result.error.msg


@pytest.mark.parametrize(
    ("migrated", "code_of_agent"), [(True, AGENT_ERROR), (True, AGENT_UNAVAILABLE), (False, AGENT_ERROR)]
)
def test_a_reboot_is_the_remedy_only_if_a_migrated_guest_cannot_online_a_vcpu(
    migrated: bool, code_of_agent: str
) -> None:
    class Unable(MadeUpAgent):
        async def set_online(self, wanted: Mapping[int, bool]) -> SetResult:
            return SetResult((), next(iter(wanted)), code_of_agent, "Input/output error", refused=True)

    guest = MadeUpGuest(migrated=migrated)
    guest.agent = Unable(guest, (), ())
    result = bring(guest, "3")
    assert code(result) == code_of_agent
    assert result.error is not None
    assert ("reboot the guest" in result.error.msg) is (migrated and code_of_agent == AGENT_ERROR)
