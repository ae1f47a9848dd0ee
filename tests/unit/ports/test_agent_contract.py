# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The agent port's contract, for the adapters for a socket and for libvirt, with scripted guests."""

from __future__ import annotations

import asyncio
from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.agent import GuestAgent
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.socket_transport import agent_at
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent
from contracts.agent import AgentContract, Served, Work

from ..support.agent_over_libvirt import LibvirtAround, commands_over
from ..support.agent_peer import LinuxAgent, address_files, pseries_files
from ..support.peer import Peer

VCPUS = (0, 1, 2, 5)


def served(guest: LinuxAgent, open_agent: Callable[[], Agent]) -> Served:
    def use(work: Work) -> None:
        async def all_of_it() -> None:
            agent = open_agent()
            try:
                await work(agent)
            finally:
                await agent.close()

        asyncio.run(all_of_it())

    return Served(use, lambda: list(guest.online.values()).count(True), guest.plug)


class TestAgentAtASocket(AgentContract):
    @pytest.fixture
    def served(self, peer: Callable[..., Peer]) -> Served:
        guest = LinuxAgent(VCPUS)
        address = peer(guest).address
        return served(guest, lambda: agent_at(address, 5.0))


class TestAgentOverLibvirt(AgentContract):
    @pytest.fixture
    def served(self, monkeypatch: pytest.MonkeyPatch) -> Served:
        guest = LinuxAgent(VCPUS)
        return served(guest, lambda: GuestAgent(commands_over(LibvirtAround(guest), monkeypatch)))


class TestAgentOfS390x(TestAgentAtASocket):
    """Whose guest has the numbers in files of another name."""

    @pytest.fixture
    def served(self, peer: Callable[..., Peer]) -> Served:
        guest = LinuxAgent(VCPUS, files=address_files)
        address = peer(guest).address
        return served(guest, lambda: agent_at(address, 5.0))


class TestAgentOfPseries(TestAgentAtASocket):
    """Whose guest lists CPUs that it could have."""

    @pytest.fixture
    def served(self, peer: Callable[..., Peer]) -> Served:
        guest = LinuxAgent(VCPUS, files=pseries_files)
        address = peer(guest).address
        return served(guest, lambda: agent_at(address, 5.0))
