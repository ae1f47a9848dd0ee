# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A libvirt guest, by its name and the uri of its libvirt daemon, for changing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.threads import LocalThreads
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.config import LibvirtConfig
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.events import EventRouter
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.machine import LibvirtMachine
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.placer import LibvirtPlacer
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.read_source import LibvirtReadSource
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import LayOut
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.pool import Pool


class LibvirtSource(LibvirtReadSource):
    """The same as ``LibvirtReadSource``, and for changes; ``reading``, only to predict them in check mode.

    ``by_agent``: the agent is queried even then. ``forced`` allows vCPUs on nodes without memory.
    """

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
        reading: bool = False,
    ) -> None:
        super().__init__(pool, uri, name, timeout, lay_out, ask_qemu)
        self._forced = forced
        self._read_only = reading and not ask_qemu and not by_agent

    async def open(self) -> Ports:
        """Open the ports: a guest that does not run has no machine, a transient one no config."""
        found = await self._find(self._read_only)
        ports = Ports(agent=self._agent(found), has_agent=found.has_agent, threads=LocalThreads())
        if found.active:
            router = found.connection.attached(EventRouter)
            ports.machine = LibvirtMachine(found.connection, router, found.domain, found.reader)
            ports.placer = LibvirtPlacer(found.connection, found.domain)
        if found.persistent:
            ports.config = LibvirtConfig(
                found.connection, found.domain, found.reader, self._lay_out, self._uri, self._forced, found.saved
            )
        return ports
