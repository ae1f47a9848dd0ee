# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A libvirt guest, by its name and the uri of its libvirt daemon, for observing it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.threads import LocalThreads
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.config_reader import LibvirtConfigReader
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_reader import DomainReader
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.machine_reader import LibvirtMachineReader
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import LONGEST_REPLY_SECONDS
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import ReadPorts

if TYPE_CHECKING:
    import libvirt

    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import LayOut
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.pool import Pool
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent

# virDomainGetID
_ID_IF_SHUT_OFF = -1


class FoundDomain(NamedTuple):
    """A domain, and which ports it has: ``saved`` is whether it has a managed save."""

    connection: Connection
    domain: libvirt.virDomain
    reader: DomainReader
    active: bool
    persistent: bool
    saved: bool
    has_agent: bool


class LibvirtReadSource:
    """A guest by its libvirt name, UUID or id; ``timeout`` limits libvirt's replies, in seconds.

    libvirt allows queries to QEMU (``ask_qemu``) and to the guest's agent only on read-write connections.
    """

    def __init__(
        self, pool: Pool, uri: str, name: str, timeout: float, lay_out: LayOut, ask_qemu: bool = False
    ) -> None:
        self._pool = pool
        self._uri = uri
        self._name = name
        self._timeout = timeout
        self._lay_out = lay_out
        self._ask_qemu = ask_qemu

    async def open(self) -> ReadPorts:
        """Open the ports: a guest that does not run has no machine, a transient one no config."""
        found = await self._find(read_only=not self._ask_qemu)
        ports = ReadPorts(agent=self._agent(found), has_agent=found.has_agent, threads=LocalThreads())
        if found.active:
            ports.machine = LibvirtMachineReader(found.reader)
        if found.persistent:
            ports.config = LibvirtConfigReader(found.reader, self._lay_out, self._uri, found.saved)
        return ports

    async def _find(self, read_only: bool) -> FoundDomain:
        connection = await self._pool.connection(self._uri, read_only, self._timeout)
        domain = await connection.find(self._name)
        reader = DomainReader(connection, domain, self._lay_out, self._ask_qemu)
        # As it was found, without a call.
        active = domain.ID() != _ID_IF_SHUT_OFF
        try:
            persistent, saved = await asyncio.gather(
                connection.call(domain.isPersistent),
                connection.call(domain.hasManagedSaveImage),
            )
            has_agent = active and await reader.has_agent()
        except LibvirtCallError as error:
            raise error.error(f"cannot observe guest {printable(self._name)}") from None
        return FoundDomain(connection, domain, reader, active, bool(persistent), bool(saved), has_agent)

    def _agent(self, found: FoundDomain) -> Agent | None:
        if not found.has_agent or found.connection.reading:
            return None
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.agent import GuestAgent
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.agent import LibvirtAgentCommands

        timeout = min(self._timeout, LONGEST_REPLY_SECONDS)
        return GuestAgent(LibvirtAgentCommands(found.connection, found.domain, found.reader, timeout))
