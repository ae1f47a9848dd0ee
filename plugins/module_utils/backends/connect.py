# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the backend of a guest by the options: libvirt, or the sockets and files of a QEMU guest not managed by it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.threads import LocalThreads
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    MONITOR_UNREACHABLE,
    HotplugError,
    NoListener,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import LONGEST_REPLY_SECONDS
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports, Source
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import Machine
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import parse_timeout

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import LayOut
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.pool import Pool
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import Config

OpenMachine = Callable[[], Awaitable[Machine]]
MakeAgent = Callable[[], "Agent"]


@contextlib.asynccontextmanager
async def connections() -> AsyncIterator[Connections]:
    """Keep the libvirt connections of the sources that are created in the block, and close them at its end."""
    kept = Connections()
    try:
        yield kept
    finally:
        await kept.close()


class Connections:
    """The connections to libvirt that guests share; nothing is imported for other guests."""

    def __init__(self) -> None:
        self._pool: Pool | None = None

    @property
    def pool(self) -> Pool:
        """The connections to libvirt."""
        if self._pool is None:
            from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.pool import Pool

            self._pool = Pool()
        return self._pool

    async def close(self) -> None:
        """Close all; never raises."""
        if self._pool is not None:
            await self._pool.close()


class DirectSource(NamedTuple):
    """A QEMU guest not managed by libvirt: opens its machine, its config and its agent."""

    open_machine: OpenMachine | None = None
    config: Config | None = None
    make_agent: MakeAgent | None = None

    async def open(self, reading: bool) -> Ports:
        """Open the machine; a guest with a config and without a listening monitor is shut off."""
        ports = Ports(config=self.config, threads=LocalThreads())
        # It connects at the first query.
        agent = self.make_agent() if self.make_agent is not None else None
        if self.open_machine is not None:
            try:
                ports.machine = await self.open_machine()
            except NoListener as error:
                if self.config is None:
                    raise
                ports.warn(f"the guest is assumed to be shut off: {error.msg}")
                return ports
        if ports.machine is not None or self.config is None:
            ports.agent = agent
        return ports


def source_of(params: Mapping[str, Any], kept: Connections) -> Source:
    """Return the source that the options name; raises ``HotplugError`` for options that exclude each other.

    ``kept`` must be open as long as the source is used.
    """
    timeout = parse_timeout(params)
    if params["name"] is not None:
        return _with_libvirt(params, timeout, kept.pool)
    _refuse(params, ("ask_qemu",), "needs name")
    open_machine = None if params["qmp_socket"] is None else _opener(params["qmp_socket"], timeout)
    make_agent = None if params["agent_socket"] is None else _agent_maker(params["agent_socket"], timeout)
    if params["domain_xml"] is None:
        _refuse(params, ("backup", "xml_detail", "probe", "emulator"), "needs domain_xml")
        if open_machine is None:
            _refuse(params, ("force",), "needs name, qmp_socket or domain_xml")
        return DirectSource(open_machine, make_agent=make_agent)
    return DirectSource(open_machine, _xml_file(params, timeout), make_agent)


def _xml_file(params: Mapping[str, Any], timeout: float) -> Config:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile

    return XmlFile(
        params["domain_xml"],
        timeout,
        _layer(params, timeout, xml_file=params["domain_xml"]),
        backup=bool(params.get("backup")),
        detail=params.get("xml_detail"),
        forced=bool(params.get("force")),
    )


def _with_libvirt(params: Mapping[str, Any], timeout: float, pool: Pool) -> Source:
    _refuse(params, ("backup", "xml_detail"), "needs domain_xml")
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.host import is_remote
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.source import LibvirtSource

    return LibvirtSource(
        pool,
        params["uri"],
        params["name"],
        timeout,
        _layer(params, timeout, remote=is_remote(params["uri"])),
        ask_qemu=params["ask_qemu"],
        by_agent=params.get("method") == "agent",
        forced=bool(params.get("force")),
    )


def _refuse(params: Mapping[str, Any], names: tuple[str, ...], why: str) -> None:
    given = [name for name in names if params.get(name) not in (None, False) and not _is_default(name, params[name])]
    if given:
        raise HotplugError(CONFLICTING_REQUEST, f"{', '.join(given)}: this {why}; set that, or omit it")


def _is_default(name: str, value: object) -> bool:
    return name == "probe" and value == "auto"


def _layer(params: Mapping[str, Any], timeout: float, xml_file: str | None = None, remote: bool = False) -> LayOut:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import lay_out

    return lambda domain: lay_out(domain, params["probe"], params["emulator"], timeout, xml_file, remote)


def _opener(address: str, timeout: float) -> OpenMachine:
    async def open_machine() -> Machine:
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.machine import QmpMachine

        machine = QmpMachine(address, timeout)
        try:
            await machine.connect()
        except NoListener as error:
            await _refuse_hidden_qemu(address, error)
            raise
        return machine

    return open_machine


async def _refuse_hidden_qemu(address: str, error: NoListener) -> None:
    """Fail if the guest still runs although its monitor has no listener, because it would be handled as shut off."""
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.liveness import sign_of_qemu

    sign = await asyncio.to_thread(sign_of_qemu, address)
    if sign is not None:
        raise HotplugError(
            MONITOR_UNREACHABLE,
            f"the guest still runs, though its monitor at {address} cannot be reached: {sign}; end that QEMU, give it "
            "another monitor and set qmp_socket to that, or set only domain_xml to change the next boot",
        ) from error


def _agent_maker(address: str, timeout: float) -> MakeAgent:
    def make_agent() -> Agent:
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.socket_transport import agent_at

        return agent_at(address, min(timeout, LONGEST_REPLY_SECONDS))

    return make_agent
