# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A libvirt guest, by its name and the uri of its libvirt daemon."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.threads import LocalThreads
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.config import LibvirtConfig
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.machine import LibvirtMachine
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.reader import Reader
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import LONGEST_REPLY_SECONDS
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import LayOut
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.pool import Pool


class LibvirtSource:
    """A guest by its libvirt name, UUID or id; ``timeout`` limits libvirt's replies, in seconds."""

    def __init__(
        self,
        pool: Pool,
        uri: str,
        name: str,
        timeout: float,
        lay_out: LayOut,
        ask_qemu: bool = False,
        by_agent: bool = False,
        forced: bool = False,
    ) -> None:
        self._pool = pool
        self._uri = uri
        self._name = name
        self._timeout = timeout
        self._lay_out = lay_out
        self._ask_qemu = ask_qemu
        self._by_agent = by_agent
        self._forced = forced

    async def open(self, reading: bool) -> Ports:
        """Open the ports: a guest that does not run has no machine, a transient one no config.

        libvirt allows queries to QEMU and the guest's agent only on read-write connections.
        """
        reads = reading and not self._ask_qemu and not self._by_agent
        return await self._ports(await self._pool.connection(self._uri, reads, self._timeout))

    async def _ports(self, connection: Connection) -> Ports:
        domain = await connection.find(self._name)
        try:
            active, persistent, saved = await asyncio.gather(
                connection.call(domain.isActive),
                connection.call(domain.isPersistent),
                connection.call(domain.hasManagedSaveImage),
            )
        except LibvirtCallError as error:
            raise error.error(f"cannot observe guest {printable(self._name)}") from None
        reader = Reader(connection, domain, self._lay_out, self._ask_qemu)
        ports = Ports(threads=LocalThreads())
        if active:
            ports.machine = LibvirtMachine(connection, self._pool.ears(connection), domain, reader)
            ports.has_agent = await self._has_agent(reader)
            if ports.has_agent and not connection.reading:
                from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.agent import GuestAgent
                from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.agent import (
                    LibvirtAgentCommands,
                )

                timeout = min(self._timeout, LONGEST_REPLY_SECONDS)
                ports.agent = GuestAgent(LibvirtAgentCommands(connection, domain, reader, timeout))
        if persistent:
            ports.config = LibvirtConfig(
                connection, domain, reader, self._lay_out, self._uri, self._forced, bool(saved)
            )
        return ports

    async def _has_agent(self, reader: Reader) -> bool:
        """Whether libvirt reports that the agent has opened its channel."""
        try:
            return await reader.has_agent()
        except LibvirtCallError as error:
            raise error.error(f"cannot observe guest {printable(self._name)}") from None
