# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the backend of a guest by the options: libvirt, or the sockets and files of a QEMU guest not managed by it.

``readers`` and ``writers`` make the sources: a task that only observes guests ships no code that changes them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Callable, Protocol, TypeVar

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    MONITOR_UNREACHABLE,
    HotplugError,
    NoListener,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import ReadPorts, ReadSource
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import parse_timeout

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import LayOut
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.pool import Pool
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent

Chosen_co = TypeVar("Chosen_co", bound=ReadSource, covariant=True)
Opened = TypeVar("Opened")
MakeAgent = Callable[[], "Agent"]


class QmpConnection(Protocol):
    """A machine at a QMP socket, before it is connected."""

    async def connect(self) -> None:
        """Raises ``HotplugError``: monitor_unreachable or monitor_busy."""


AnyMachine = TypeVar("AnyMachine", bound=QmpConnection)


class SourceFactory(Protocol[Chosen_co]):
    """Makes the sources of both kinds of guests from valid options; ``timeout`` is in seconds."""

    def of_libvirt(self, params: Mapping[str, Any], timeout: float, pool: Pool, lay_out: LayOut) -> Chosen_co:
        """Return the source of a libvirt guest."""

    def direct(self, params: Mapping[str, Any], timeout: float, lay_out: LayOut | None) -> Chosen_co:
        """Return the source of a guest not managed by libvirt; ``lay_out`` is None without ``domain_xml``."""


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


def choose_source(params: Mapping[str, Any], kept: Connections, factory: SourceFactory[Chosen_co]) -> Chosen_co:
    """Return the source that the options name; raises ``HotplugError`` for options that exclude each other.

    ``kept`` must be open as long as the source is used.
    """
    timeout = parse_timeout(params)
    if params["name"] is not None:
        _refuse(params, ("backup", "xml_detail"), "needs domain_xml")
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.uris import is_remote

        return factory.of_libvirt(params, timeout, kept.pool, _layer(params, timeout, remote=is_remote(params["uri"])))
    _refuse(params, ("ask_qemu",), "needs name")
    if params["domain_xml"] is not None:
        return factory.direct(params, timeout, _layer(params, timeout, xml_file=params["domain_xml"]))
    _refuse(params, ("backup", "xml_detail", "probe", "emulator"), "needs domain_xml")
    if params["qmp_socket"] is None:
        _refuse(params, ("force",), "needs name, qmp_socket or domain_xml")
    return factory.direct(params, timeout, None)


async def opened_machine(ports: ReadPorts, open_machine: Callable[[], Awaitable[Opened]] | None) -> Opened | None:
    """Open the machine; a guest with a config and without a listening monitor is shut off, with a warning."""
    if open_machine is None:
        return None
    try:
        return await open_machine()
    except NoListener as error:
        if ports.config is None:
            raise
        ports.warn(f"the guest is assumed to be shut off: {error.msg}")
        return None


async def connected(machine: AnyMachine, address: str) -> AnyMachine:
    """Connect to the monitor; raises ``HotplugError``, and fails if the guest runs although no process listens there.

    Such a guest would be handled as shut off.
    """
    try:
        await machine.connect()
    except NoListener as error:
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.liveness import sign_of_qemu

        sign = await asyncio.to_thread(sign_of_qemu, address)
        if sign is None:
            raise
        raise HotplugError(
            MONITOR_UNREACHABLE,
            f"the guest still runs, though its monitor at {address} cannot be reached: {sign}; end that QEMU, give it "
            "another monitor and set qmp_socket to that, or set only domain_xml to change the next boot",
        ) from error
    return machine


def agent_maker(params: Mapping[str, Any], timeout: float) -> MakeAgent | None:
    """Return the function that makes the agent at ``agent_socket``; None without that option."""
    address = params["agent_socket"]
    if address is None:
        return None

    def make_agent() -> Agent:
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.socket_transport import agent_at
        from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import LONGEST_REPLY_SECONDS

        return agent_at(address, min(timeout, LONGEST_REPLY_SECONDS))

    return make_agent


def _refuse(params: Mapping[str, Any], names: tuple[str, ...], why: str) -> None:
    given = [name for name in names if params.get(name) not in (None, False) and not _is_default(name, params[name])]
    if given:
        raise HotplugError(CONFLICTING_REQUEST, f"{', '.join(given)}: this {why}; set that, or omit it")


def _is_default(name: str, value: object) -> bool:
    return name == "probe" and value == "auto"


def _layer(params: Mapping[str, Any], timeout: float, xml_file: str | None = None, remote: bool = False) -> LayOut:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import lay_out

    return lambda domain: lay_out(domain, params["probe"], params["emulator"], timeout, xml_file, remote)
