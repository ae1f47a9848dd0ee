# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of guests that a task only observes; nothing that this file imports can change a guest."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import (
    Connections,
    MakeAgent,
    agent_maker,
    choose_source,
    connected,
    opened_machine,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.threads import LocalThreads
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import ReadPorts, ReadSource

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import LayOut
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.pool import Pool
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import ConfigReader
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import MachineReader

OpenMachineReader = Callable[[], Awaitable["MachineReader"]]


class DirectReadSource(NamedTuple):
    """A QEMU guest not managed by libvirt: opens its machine, its config and its agent."""

    open_machine: OpenMachineReader | None = None
    config: ConfigReader | None = None
    make_agent: MakeAgent | None = None

    async def open(self) -> ReadPorts:
        """Open the machine; a guest with a config and without a listening monitor is shut off."""
        ports = ReadPorts(config=self.config, threads=LocalThreads())
        # It connects at the first query.
        agent = self.make_agent() if self.make_agent is not None else None
        ports.machine = await opened_machine(ports, self.open_machine)
        if ports.machine is not None or ports.config is None:
            ports.agent = agent
        return ports


def reader_of(params: Mapping[str, Any], kept: Connections) -> ReadSource:
    """Return the source that the options name; raises ``HotplugError`` for options that exclude each other."""
    return choose_source(params, kept, _Readers())


class _Readers:
    def of_libvirt(self, params: Mapping[str, Any], timeout: float, pool: Pool, lay_out: LayOut) -> ReadSource:
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.read_source import LibvirtReadSource

        return LibvirtReadSource(pool, params["uri"], params["name"], timeout, lay_out, ask_qemu=params["ask_qemu"])

    def direct(self, params: Mapping[str, Any], timeout: float, lay_out: LayOut | None) -> ReadSource:
        address = params["qmp_socket"]
        return DirectReadSource(
            None if address is None else _opener(address, timeout),
            None if lay_out is None else _xml_file(params["domain_xml"], lay_out),
            agent_maker(params, timeout),
        )


def _opener(address: str, timeout: float) -> OpenMachineReader:
    async def open_machine() -> MachineReader:
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.reader import QmpReader

        return await connected(QmpReader(address, timeout), address)

    return open_machine


def _xml_file(path: str, lay_out: LayOut) -> ConfigReader:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.reader import XmlFileReader

    return XmlFileReader(path, lay_out)
