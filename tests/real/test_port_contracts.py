# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The contract of the ports, on real guests and a real libvirt; tests/unit/ports checks the other adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import BootLayout, lay_out
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.socket_transport import agent_at
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.pool import Pool
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.read_source import LibvirtReadSource
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.source import LibvirtSource
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.machine import QmpMachine
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.reader import QmpReader
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.readers import DirectReadSource
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import DirectSource
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports, ReadSource, Source
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import (
    DONE,
    REFUSED,
    Machine,
    MachineReader,
    MachineView,
)
from contracts.agent import AgentContract, Served
from contracts.config import ConfigContract, Stored
from contracts.domain_xml import enabled_vcpus
from lab import linux_behaviours, observer
from lab.contact import Contact
from lab.domains import LibvirtGuest
from lab.software import bindings

from .conftest import TWO_CELLS, TWO_NODES, Boot, Domains
from .support.modules import wait_online
from .test_libvirt_failures import THREE_GO
from .test_libvirt_guests import HOTPLUGGABLE

PATIENCE = 60.0

Work = Callable[[Ports], Awaitable[None]]


async def derive(xml: Domain) -> BootLayout:
    return await lay_out(xml, "never", None, PATIENCE)


class OwnLibvirtSource(LibvirtSource):
    """A source that closes its connection with its ports."""

    def __init__(self, guest: LibvirtGuest) -> None:
        if not bindings():
            pytest.skip("libvirt's bindings are for another Python than this one")
        self.pool = Pool()
        self._place = (guest.daemon.uri, guest.name)
        super().__init__(self.pool, *self._place, PATIENCE, derive)

    def reader(self) -> LibvirtReadSource:
        """Return the source of the same guest that only observes it, over the same pool."""
        return LibvirtReadSource(self.pool, *self._place, PATIENCE, derive)


def using(source: Source, work: Work) -> None:
    async def all_of_it() -> None:
        try:
            ports = await source.open()
            try:
                await work(ports)
            finally:
                await ports.close()
        finally:
            if isinstance(source, OwnLibvirtSource):
                await source.pool.close()

    asyncio.run(asyncio.wait_for(all_of_it(), 4 * PATIENCE))


def machine_of(ports: Ports) -> Machine:
    assert ports.machine is not None
    return ports.machine


@pytest.fixture(params=["qmp", "libvirt"])
def running(request: pytest.FixtureRequest) -> tuple[Contact, Source]:
    """A guest with vCPUs 0-3 of 8 on two nodes, and the source that opens its machine."""
    if request.param == "libvirt":
        domain = request.getfixturevalue("newest_domain")(**{**TWO_CELLS, **THREE_GO})
        return domain, OwnLibvirtSource(domain)
    guest = request.getfixturevalue("boot")(**{**TWO_NODES, "smp": "4,sockets=4,cores=2,threads=1,maxcpus=8"})

    async def open_machine() -> Machine:
        machine = QmpMachine(guest.qmp_socket, PATIENCE)
        await machine.connect()
        return machine

    return guest, DirectSource(open_machine)


def reader_of(guest: Contact, source: Source) -> ReadSource:
    """Return the source of the same guest that only observes it."""
    if isinstance(source, OwnLibvirtSource):
        return source.reader()

    async def open_machine() -> MachineReader:
        machine = QmpReader(guest.qmp_socket, PATIENCE)
        await machine.connect()
        return machine

    return DirectReadSource(open_machine)


def test_a_machine_returns_its_state(running: tuple[Contact, Source]) -> None:
    guest, source = running

    async def look(ports: Ports) -> None:
        view = await machine_of(ports).observe()
        assert sorted(view.live.enabled) == observer.enabled_ids(guest.observer) == [0, 1, 2, 3]
        assert [vcpu for entity in view.layout.entities for vcpu in entity.vcpus] == list(range(8))
        assert {node: len(entities) for node, entities in view.layout.nodes.items()} == {0: 4, 1: 4}
        assert (view.facts.state, view.facts.arch, view.live.running) == ("running", "x86_64", True)
        assert view.live.cannot_disable.keys() == {0}
        assert machine_of(ports).latest() == view

    using(source, look)


def test_a_reader_returns_the_same_state(running: tuple[Contact, Source]) -> None:
    guest, source = running
    seen: list[MachineView] = []

    async def look(ports: Ports) -> None:
        seen.append(await machine_of(ports).observe())

    async def read() -> None:
        ports = await reader_of(guest, source).open()
        assert ports.machine is not None
        seen.append(await ports.machine.observe())
        await ports.close()

    async def close(_ports: Ports) -> None:
        return None

    using(source, look)
    asyncio.run(asyncio.wait_for(read(), PATIENCE))
    using(source, close)
    assert seen[0] == seen[1]


def test_a_machine_plugs_and_receives_the_acknowledgement(running: tuple[Contact, Source]) -> None:
    guest, source = running

    async def plug(ports: Ports) -> None:
        machine = machine_of(ports)
        entities = (await machine.observe()).layout.entities[4:6]
        answers = await machine.plug(entities)
        assert {index: (answer.status, answer.took_effect) for index, answer in answers.items()} == {
            4: (DONE, True),
            5: (DONE, True),
        }
        outcomes = await machine.await_insertion(entities, PATIENCE)
        assert {answer.status for answer in outcomes.values()} == {DONE}
        assert sorted(machine.latest().live.enabled) == observer.enabled_ids(guest.observer) == [0, 1, 2, 3, 4, 5]
        again = await machine.plug(entities)
        assert {(answer.status, answer.took_effect) for answer in again.values()} == {(DONE, False)}

    using(source, plug)


def test_a_machine_unplugs_once(running: tuple[Contact, Source]) -> None:
    guest, source = running

    async def unplug(ports: Ports) -> None:
        machine = machine_of(ports)
        entity = (await machine.observe()).layout.entities[3]
        answer = await machine.unplug(entity, PATIENCE)
        assert (answer.status, answer.took_effect, answer.code) == (DONE, True, None)
        assert sorted(machine.latest().live.enabled) == observer.enabled_ids(guest.observer) == [0, 1, 2]
        assert sorted((await machine.observe()).live.enabled) == [0, 1, 2]

    using(source, unplug)


def test_a_machine_reports_a_refusal(running: tuple[Contact, Source]) -> None:
    guest, source = running
    linux_behaviours.forbid_ejects(guest)

    async def unplug(ports: Ports) -> None:
        machine = machine_of(ports)
        answer = await machine.unplug((await machine.observe()).layout.entities[3], PATIENCE)
        assert (answer.status, answer.took_effect, answer.code) == (REFUSED, False, "unplug_refused")
        assert sorted(machine.latest().live.enabled) == observer.enabled_ids(guest.observer) == [0, 1, 2, 3]

    using(source, unplug)


class TestConfigOverLibvirt(ConfigContract):
    @pytest.fixture
    def stored(self, newest_domain: Domains) -> Stored:
        domain = newest_domain(**TWO_CELLS, start=False)
        source = OwnLibvirtSource(domain)

        def enable(vcpu: int) -> None:
            domain.virsh("setvcpu", str(vcpu), "--enable", "--config")

        return Stored(
            source, source.reader(), lambda: domain.xml(inactive=True), enabled_vcpus, enable, source.pool.close
        )


def served(guest: Contact, open_agent: Callable[[], Awaitable[tuple[Agent, Callable[[], Awaitable[None]]]]]) -> Served:
    """The agent in ``guest``; what ``open_agent`` returns beside it closes what the agent needs."""

    def use(work: Callable[[Agent], Awaitable[None]]) -> None:
        async def all_of_it() -> None:
            agent, close = await open_agent()
            try:
                await work(agent)
            finally:
                await agent.close()
                await close()

        asyncio.run(asyncio.wait_for(all_of_it(), 4 * PATIENCE))

    return Served(use, lambda: len(observer.guest_cpus(guest)), lambda vcpu: observer.plug(guest.observer, vcpu))


class TestAgentAtASocket(AgentContract):
    @pytest.fixture
    def served(self, boot: Boot) -> Served:
        guest = boot(**{**TWO_NODES, "smp": "3,sockets=4,cores=2,threads=1,maxcpus=8"}, agent=True)
        observer.plug(guest.observer, 5)
        wait_online(guest, 4)

        async def nothing() -> None:
            return None

        async def open_agent() -> tuple[Agent, Callable[[], Awaitable[None]]]:
            return agent_at(guest.agent_socket, PATIENCE), nothing

        return served(guest, open_agent)


class TestAgentOverLibvirt(AgentContract):
    @pytest.fixture
    def served(self, newest_domain: Domains) -> Served:
        domain = newest_domain(**TWO_CELLS, vcpus=HOTPLUGGABLE, agent=True)
        source = OwnLibvirtSource(domain)

        async def open_agent() -> tuple[Agent, Callable[[], Awaitable[None]]]:
            ports = await source.open()
            assert ports.agent is not None

            async def close() -> None:
                await ports.close()
                await source.pool.close()

            return ports.agent, close

        return served(domain, open_agent)
