# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The agent port if the guest's CPUs cannot be mapped to vCPUs, and if no machine is known."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Callable, TypeVar

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.agent import GuestAgent
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.socket_transport import agent_at
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import AgentView
from contracts.agent import online

from ...support.agent_peer import LinuxAgent
from ...support.faulty_peers import instead
from ...support.peer import Peer

StartPeer = Callable[..., Peer]
T = TypeVar("T")

NO_FILES = ("guest-file-open",)


def asked(peer: StartPeer, guest: LinuxAgent, work: Callable[[GuestAgent], Awaitable[T]]) -> T:
    async def ask() -> T:
        agent = agent_at(peer(guest).address, 5.0)
        try:
            return await work(agent)
        finally:
            await agent.close()

    return asyncio.run(ask())


def test_the_cpus_of_a_sparse_guest_that_reads_no_files_are_unknown_with_a_reason(peer: StartPeer) -> None:
    view = asked(peer, LinuxAgent([0, 1, 5], blocked=NO_FILES), lambda agent: agent.observe([0, 1, 5]))
    assert view.vcpus == {}
    assert view.mismatch is not None
    assert view.mismatch.code == "agent_error"
    assert "guest-file-open" in view.mismatch.msg


def test_plugged_vcpus_are_online_once_all_new_cpus_are(peer: StartPeer) -> None:
    guest = LinuxAgent([0, 1, 5], blocked=NO_FILES)

    async def plug(agent: GuestAgent) -> list[dict[int, bool]]:
        plugged = [0, 1, 3, 5, 7]
        await agent.observe([0, 1, 5])
        views = [online(await agent.observe(plugged))]
        guest.plug(3)
        views.append(online(await agent.observe(plugged)))
        guest.plug(7)
        guest.online[3] = False
        views.append(online(await agent.observe(plugged)))
        assert (await agent.set_online({3: True, 7: True})).processed == (3, 7)
        return [*views, online(await agent.observe(plugged))]

    none: dict[int, bool] = {}
    assert asked(peer, guest, plug) == [none, none, {3: False, 7: False}, {3: True, 7: True}]
    assert guest.online == dict.fromkeys(range(5), True)


def test_a_refusal_of_a_new_cpu_stops_at_the_first_candidate_vcpu(peer: StartPeer) -> None:
    guest = LinuxAgent([0, 1, 5], blocked=NO_FILES)

    async def plug(agent: GuestAgent) -> None:
        await agent.observe([0, 1, 5])
        guest.plug(3)
        guest.plug(7)
        await agent.observe([0, 1, 3, 5, 7])
        del guest.online[4]
        result = await agent.set_online({3: True, 7: True})
        assert result.processed == ()
        assert result.stopped_at == 3
        assert result.refused is True

    asked(peer, guest, plug)


def test_the_last_mapping_is_kept_if_a_later_one_fails(peer: StartPeer) -> None:
    guest = LinuxAgent([0, 1, 2], blocked=NO_FILES)

    async def plug(agent: GuestAgent) -> tuple[int, ...]:
        assert (await agent.observe([0, 1, 2])).mismatch is None
        guest.plug(7)
        assert (await agent.observe([0, 1, 2, 7])).mismatch is not None
        return (await agent.set_online({1: False, 7: False})).processed

    assert asked(peer, guest, plug) == (1, 7)
    assert guest.online == {0: True, 1: False, 2: True, 3: False}


def test_without_a_machine_the_guests_list_of_cpus_is_used(peer: StartPeer) -> None:
    def look(agent: GuestAgent) -> Awaitable[AgentView]:
        return agent.observe(None)

    assert online(asked(peer, LinuxAgent([0, 1, 5]), look)) == {0: True, 1: True, 5: True}
    assert online(asked(peer, LinuxAgent([0, 1, 5], blocked=NO_FILES), look)) == {0: True, 1: True, 2: True}


@pytest.mark.parametrize("number", [8192, 65535])
def test_a_guest_cannot_report_more_cpus_than_possible(peer: StartPeer, number: int) -> None:
    cpu = {"logical-id": number, "online": True, "can-offline": True}
    with pytest.raises(HotplugError) as listed:
        asked(peer, LinuxAgent([0]).but("guest-get-vcpus", instead([cpu])), lambda agent: agent.observe(None))
    assert listed.value.code == "agent_error"
    files = {
        "/sys/devices/system/cpu/present": "0",
        "/sys/devices/system/cpu/cpu0/physical_id": f"{number}\n",
    }
    with pytest.raises(HotplugError) as read:
        asked(peer, LinuxAgent([0], files=files), lambda agent: agent.observe(None))
    assert read.value.code == "agent_error"
