# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of guests that a task may change."""

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
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports, Source

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import LayOut
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.pool import Pool
    from ansible_collections.kvm.hotplug.plugins.module_utils.placement import Placement
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import Config
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import Machine
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads

OpenMachine = Callable[[], Awaitable["Machine"]]


class DirectSource(NamedTuple):
    """A QEMU guest not managed by libvirt: opens its machine, its config and its agent."""

    open_machine: OpenMachine | None = None
    config: Config | None = None
    make_agent: MakeAgent | None = None

    async def open(self) -> Ports:
        """Open the machine; a guest with a config and without a listening monitor is shut off."""
        ports = Ports(config=self.config, threads=LocalThreads())
        ports.placer = _PlacerWhenNeeded()
        # It connects at the first query.
        agent = self.make_agent() if self.make_agent is not None else None
        ports.machine = await opened_machine(ports, self.open_machine)
        if ports.machine is not None or ports.config is None:
            ports.agent = agent
        return ports


class _PlacerWhenNeeded:
    """The placer of this host, imported when the first thread is placed: few guests have a placement."""

    async def place(self, vcpu: int, threads: VcpuThreads, requested: Placement) -> None:
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.placer import HostPlacer

        await HostPlacer().place(vcpu, threads, requested)

    async def release(self, vcpu: int, threads: VcpuThreads) -> None:
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.placer import HostPlacer

        await HostPlacer().release(vcpu, threads)


def writer_of(params: Mapping[str, Any], kept: Connections, check_mode: bool) -> Source:
    """Return the source that the options name; raises ``HotplugError`` for options that exclude each other.

    In ``check_mode`` nothing is changed, so libvirt is connected read-only where that is sufficient.
    """
    return choose_source(params, kept, _Writers(check_mode))


class _Writers(NamedTuple):
    check_mode: bool

    def of_libvirt(self, params: Mapping[str, Any], timeout: float, pool: Pool, lay_out: LayOut) -> Source:
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.source import LibvirtSource

        return LibvirtSource(
            pool,
            params["uri"],
            params["name"],
            timeout,
            lay_out,
            ask_qemu=params["ask_qemu"],
            by_agent=params["method"] == "agent",
            forced=params["force"],
            reading=self.check_mode,
        )

    def direct(self, params: Mapping[str, Any], timeout: float, lay_out: LayOut | None) -> Source:
        address = params["qmp_socket"]
        return DirectSource(
            None if address is None else _opener(address, timeout),
            None if lay_out is None else _xml_file(params, timeout, lay_out),
            agent_maker(params, timeout),
        )


def _opener(address: str, timeout: float) -> OpenMachine:
    async def open_machine() -> Machine:
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.machine import QmpMachine

        return await connected(QmpMachine(address, timeout), address)

    return open_machine


def _xml_file(params: Mapping[str, Any], timeout: float, lay_out: LayOut) -> Config:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile

    return XmlFile(
        params["domain_xml"],
        timeout,
        lay_out,
        backup=params["backup"],
        detail=params["xml_detail"],
        forced=params["force"],
    )
