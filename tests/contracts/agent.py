# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every adapter of the agent port has to do, whatever carries the requests to the guest's agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Callable

from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent, AgentView

PATIENCE = 240.0
A_MOMENT = 30.0

Work = Callable[[Agent], Awaitable[None]]


@dataclass(frozen=True)
class Served:
    """A guest of vCPUs 0, 1, 2 and 5 of 8 with an agent, which runs on all of them and cannot take vCPU 0 offline.

    ``use`` opens the agent for some work. ``runs_on`` returns on how many CPUs the guest's system runs, by another
    way than the agent; ``plug`` plugs one more vCPU.
    """

    use: Callable[[Work], None]
    runs_on: Callable[[], int]
    plug: Callable[[int], None]


def online(view: AgentView) -> dict[int, bool]:
    """Return whether each vCPU that the guest sees is online."""
    return {vcpu: seen.online for vcpu, seen in sorted(view.vcpus.items())}


async def sees(agent: Agent, plugged: Sequence[int], wanted: dict[int, bool]) -> None:
    """A guest takes a moment to see what was plugged."""
    deadline = time.monotonic() + A_MOMENT
    while online(await agent.observe(plugged)) != wanted:
        assert time.monotonic() < deadline, online(await agent.observe(plugged))
        await asyncio.sleep(0.1)


class AgentContract:
    """The contract as tests; a subclass has the fixture ``served``."""

    plugged = (0, 1, 2, 5)

    def test_it_sees_each_vcpu_by_its_id(self, served: Served) -> None:
        async def look(agent: Agent) -> None:
            view = await agent.observe(self.plugged)
            assert online(view) == dict.fromkeys(self.plugged, True)
            assert [vcpu for vcpu, seen in view.vcpus.items() if not seen.can_offline] == [0]
            assert view.mismatch is None

        served.use(look)
        assert served.runs_on() == 4

    def test_it_offlines_and_onlines_by_the_ids_of_vcpus(self, served: Served) -> None:
        async def both(agent: Agent) -> None:
            await agent.observe(self.plugged)
            result = await agent.set_online({5: False, 1: False})
            assert set(result.processed) == {1, 5}
            assert result.stopped_at is None
            assert served.runs_on() == 2
            assert online(await agent.observe(self.plugged)) == {0: True, 1: False, 2: True, 5: False}
            assert (await agent.set_online({1: True, 2: False, 5: True})).stopped_at is None
            assert online(await agent.observe(self.plugged)) == {0: True, 1: True, 2: False, 5: True}
            assert served.runs_on() == 3

        served.use(both)

    def test_a_state_that_is_there_already_is_no_error(self, served: Served) -> None:
        async def again(agent: Agent) -> None:
            await agent.observe(self.plugged)
            for _time in range(2):
                assert (await agent.set_online({5: False, 1: True})).stopped_at is None
            assert online(await agent.observe(self.plugged)) == {0: True, 1: True, 2: True, 5: False}

        served.use(again)

    def test_it_says_where_a_refusal_stopped_it(self, served: Served) -> None:
        async def refused(agent: Agent) -> None:
            await agent.observe(self.plugged)
            result = await agent.set_online({0: False, 5: False})
            assert result.processed == ()
            assert result.stopped_at == 0
            assert result.refused is True
            assert result.code == "agent_error"
            assert result.reason
            assert online(await agent.observe(self.plugged)) == dict.fromkeys(self.plugged, True)

        served.use(refused)
        assert served.runs_on() == 4

    def test_what_was_processed_before_a_refusal_is_as_it_was_asked_to_be(self, served: Served) -> None:
        async def partly(agent: Agent) -> None:
            await agent.observe(self.plugged)
            result = await agent.set_online({2: False, 0: False, 5: False})
            assert result.refused is True
            seen = online(await agent.observe(self.plugged))
            assert [vcpu for vcpu in self.plugged if not seen[vcpu]] == sorted(result.processed)
            assert result.stopped_at not in result.processed

        served.use(partly)

    def test_a_vcpu_that_the_guest_does_not_see_is_refused(self, served: Served) -> None:
        async def unseen(agent: Agent) -> None:
            await agent.observe(self.plugged)
            result = await agent.set_online({1: False, 7: True})
            assert result.processed == ()
            assert result.stopped_at == 7
            assert result.refused is True

        served.use(unseen)
        assert served.runs_on() == 4

    def test_it_sees_what_is_plugged_later(self, served: Served) -> None:
        async def plug(agent: Agent) -> None:
            await agent.observe(self.plugged)
            served.plug(3)
            await sees(agent, (*self.plugged, 3), dict.fromkeys((0, 1, 2, 3, 5), True))
            assert (await agent.set_online({3: False})).processed == (3,)
            await sees(agent, (*self.plugged, 3), {0: True, 1: True, 2: True, 3: False, 5: True})

        served.use(plug)
        assert served.runs_on() == 4

    def test_nothing_wanted_changes_nothing(self, served: Served) -> None:
        async def nothing(agent: Agent) -> None:
            result = await agent.set_online({})
            assert result.processed == ()
            assert result.stopped_at is None

        served.use(nothing)
        assert served.runs_on() == 4
