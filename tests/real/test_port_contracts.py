# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every adapter of a port has to do: one suite, on real guests, for QMP and libvirt, for files and libvirt."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import lay_out
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import DirectSource
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.pool import Pool
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.source import LibvirtSource
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.machine import QmpMachine
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import Config
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports, Source, opened
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, REFUSED, Machine
from lab import behaviours, eyes
from lab.contact import Contact
from lab.domains import LibvirtGuest
from lab.software import bindings

from .conftest import TWO_CELLS, TWO_NODES
from .test_libvirt_trouble import THREE_GO

PATIENCE = 60.0

Work = Callable[[Ports], Awaitable[None]]
# Its source, its XML as others read it, and what enables another vCPU behind our back.
Stored = tuple[Source, Callable[[], str], Callable[[str], None]]


class OwnLibvirtSource(LibvirtSource):
    """A source that closes its connection with its ports."""

    def __init__(self, guest: LibvirtGuest) -> None:
        if not bindings():
            pytest.skip("libvirt's bindings are for another Python than this one")
        self.pool = Pool()
        super().__init__(
            self.pool, guest.daemon.uri, guest.name, PATIENCE, lambda xml: lay_out(xml, "never", None, PATIENCE)
        )


def using(source: Source, work: Work, reading: bool = False) -> None:
    async def all_of_it() -> None:
        try:
            async with opened(source, reading) as ports:
                await work(ports)
        finally:
            if isinstance(source, OwnLibvirtSource):
                await source.pool.close()

    asyncio.run(asyncio.wait_for(all_of_it(), 4 * PATIENCE))


def machine_of(ports: Ports) -> Machine:
    assert ports.machine is not None
    return ports.machine


def config_of(ports: Ports) -> Config:
    assert ports.config is not None
    return ports.config


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


@pytest.fixture(params=["file", "libvirt"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stored]:
    """A config of vCPUs 0 and 1 of 8."""
    if request.param == "libvirt":
        domain = request.getfixturevalue("newest_domain")(**TWO_CELLS, start=False)

        def enable(vcpu: str) -> None:
            domain.virsh("setvcpu", vcpu, "--enable", "--config")

        yield OwnLibvirtSource(domain), lambda: domain.xml(inactive=True), enable
        return
    file = tmp_path / "guest.xml"
    file.write_text(
        "<domain type='kvm'><name>guest</name><memory unit='MiB'>256</memory><vcpu current='2'>8</vcpu>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os><cpu><topology sockets='4' cores='2' threads='1'/></cpu>"
        "</domain>"
    )

    def write_enabled(vcpu: str) -> None:
        data = file.read_text().replace(f"id='{vcpu}' enabled='no'", f"id='{vcpu}' enabled='yes'")
        file.write_text(re.sub(r"current='(\d+)'", lambda found: f"current='{int(found.group(1)) + 1}'", data))

    yield (
        DirectSource(config=XmlFile(str(file), PATIENCE), lay_out=lambda xml: lay_out(xml, "never", None, PATIENCE)),
        file.read_text,
        write_enabled,
    )


def enabled_in(xml: str) -> list[int]:
    listed = [int(vcpu) for vcpu in re.findall(r"<vcpu id=['\"](\d+)['\"] enabled=['\"]yes", xml)]
    count = re.search(r"<vcpu[^>]* current=['\"](\d+)", xml)
    return listed or list(range(int(count.group(1)) if count else 0))


def test_a_machine_shows_what_is_there(running: tuple[Contact, Source]) -> None:
    guest, source = running

    async def look(ports: Ports) -> None:
        view = await machine_of(ports).observe()
        assert sorted(view.live.enabled) == eyes.enabled_ids(guest.eyes) == [0, 1, 2, 3]
        assert [vcpu for entity in view.layout.entities for vcpu in entity.vcpus] == list(range(8))
        assert {node: len(entities) for node, entities in view.layout.nodes.items()} == {0: 4, 1: 4}
        assert (view.facts.state, view.facts.arch, view.live.running) == ("running", "x86_64", True)
        assert view.live.cannot_disable.keys() == {0}
        assert machine_of(ports).latest() == view

    using(source, look, reading=True)


def test_a_machine_plugs_and_hears_the_guest(running: tuple[Contact, Source]) -> None:
    guest, source = running

    async def plug(ports: Ports) -> None:
        machine = machine_of(ports)
        entities = (await machine.observe()).layout.entities[4:6]
        answers = await machine.plug(entities)
        assert {index: (answer.status, answer.took_effect) for index, answer in answers.items()} == {
            4: (DONE, True),
            5: (DONE, True),
        }
        heard = await machine.await_insertion(entities, PATIENCE)
        assert {answer.status for answer in heard.values()} == {DONE}
        assert sorted(machine.latest().live.enabled) == eyes.enabled_ids(guest.eyes) == [0, 1, 2, 3, 4, 5]
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
        assert sorted(machine.latest().live.enabled) == eyes.enabled_ids(guest.eyes) == [0, 1, 2]
        assert sorted((await machine.observe()).live.enabled) == [0, 1, 2]

    using(source, unplug)


def test_a_machine_tells_a_refusal(running: tuple[Contact, Source]) -> None:
    guest, source = running
    behaviours.forbid_ejects(guest)

    async def unplug(ports: Ports) -> None:
        machine = machine_of(ports)
        answer = await machine.unplug((await machine.observe()).layout.entities[3], PATIENCE)
        assert (answer.status, answer.took_effect, answer.code) == (REFUSED, False, "unplug_refused")
        assert sorted(machine.latest().live.enabled) == eyes.enabled_ids(guest.eyes) == [0, 1, 2, 3]

    using(source, unplug)


def test_a_config_shows_what_is_there(stored: Stored) -> None:
    source, read, _enable = stored

    async def look(ports: Ports) -> None:
        view = await config_of(ports).observe()
        assert sorted(view.domain.enabled) == enabled_in(read()) == [0, 1]
        assert view.domain.max_vcpus == 8

    before = read()
    using(source, look, reading=True)
    assert read() == before


def test_a_config_is_written_once(stored: Stored) -> None:
    source, read, _enable = stored

    async def write(ports: Ports) -> None:
        config = config_of(ports)
        await config.observe()
        written = await config.write(frozenset({0, 3, 5}))
        assert (written.changed, sorted(written.domain.enabled), written.failure) == (True, [0, 3, 5], None)
        assert written.domain.hotpluggable >= {1, 3, 5}
        assert enabled_in(read()) == sorted((await config.observe()).domain.enabled) == [0, 3, 5]
        before = read()
        assert (await config.write(frozenset({0, 3, 5}))).changed is False
        assert read() == before

    using(source, write)


def test_a_config_keeps_what_others_changed_meanwhile(stored: Stored) -> None:
    source, read, enable = stored

    async def write(ports: Ports) -> None:
        config = config_of(ports)
        await config.write(frozenset({0, 1, 2}))
        assert sorted((await config.observe()).domain.enabled) == [0, 1, 2]
        enable("6")
        written = await config.write(frozenset({0, 1, 3}))
        assert sorted(written.domain.enabled) == enabled_in(read()) == [0, 1, 3, 6]

    using(source, write)


def test_a_config_that_could_not_boot_is_not_written(stored: Stored) -> None:
    source, read, _enable = stored
    before = read()

    async def write(ports: Ports) -> None:
        await config_of(ports).observe()
        with pytest.raises(HotplugError) as caught:
            await config_of(ports).write(frozenset({1, 2}))
        assert caught.value.code == "config_invalid"

    using(source, write)
    assert read() == before
