# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent over libvirt, which holds the agent's channel of its guests and offers it by its API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.client import QemuAgent
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.commands import GuestCpu
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.replies import (
    HIGHEST_NUMBER,
    invalid_reply,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import (
    Connection,
    imported,
    imported_for_qemu,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.messages import read_object
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    AGENT_ERROR,
    AGENT_UNAVAILABLE,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import SetResult
from ansible_collections.kvm.hotplug.plugins.module_utils.timeouts import within

if TYPE_CHECKING:
    import libvirt

    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_reader import DomainReader

Result = TypeVar("Result")

# libvirt/virterror.h: not configured, unresponsive, out of step, a command that took too long.
_UNAVAILABLE = (74, 86, 87, 112)
_CPU_SETS = ("vcpus", "online", "offlinable")


class LibvirtAgentCommands:
    """The agent of a running domain; ``timeout`` limits each reply, in seconds."""

    def __init__(self, connection: Connection, domain: libvirt.virDomain, reader: DomainReader, timeout: float) -> None:
        self._connection = connection
        self._domain = domain
        self._reader = reader
        self._timeout = timeout
        self._files = QemuAgent(_LibvirtTransport(connection, domain), timeout)

    async def cpus(self) -> tuple[GuestCpu, ...]:
        try:
            reply = await self._call(_guest_vcpus, self._domain)
        except LibvirtCallError as error:
            raise _error("which CPUs the guest has", error) from None
        try:
            vcpus, online, offlinable = (parse_cpulist(reply[key]) if reply.get(key) else () for key in _CPU_SETS)
        except ValueError:
            raise invalid_reply("guest-get-vcpus", reply) from None
        if not vcpus or max(vcpus) > HIGHEST_NUMBER:
            raise invalid_reply("guest-get-vcpus", reply)
        return tuple(GuestCpu(number, number in online, number in offlinable) for number in sorted(vcpus))

    async def slots(self, numbers: Collection[int]) -> Mapping[int, int] | None:
        """Read the guest's sysfs only if its CPU numbers may differ from the vCPU ids.

        libvirt has no API for files, only one for any command of the agent, which taints the domain
        (``custom-ga-command``).
        """
        try:
            domain = await self._reader.live()
        except LibvirtCallError as error:
            raise _error("what libvirt's record has", error) from None
        ids = sorted(domain.enabled)
        order = [domain.order.get(vcpu, 0) for vcpu in ids]
        in_sequence = (len(set(order)) == len(order) and order == sorted(order)) or not any(order)
        if ids == list(range(len(ids))) == sorted(numbers) and in_sequence:
            return {number: number for number in ids}
        return await self._files.slots(numbers)

    async def set_cpus(self, wanted: Mapping[int, bool]) -> SetResult:
        before = {cpu.number: cpu.online for cpu in await self.cpus()}
        done: list[int] = []
        for online in (True, False):
            numbers = [
                number for number, state in wanted.items() if state is online and before.get(number) is not state
            ]
            if not numbers:
                continue
            try:
                await self._call(self._domain.setGuestVcpus, format_cpulist(numbers), int(online))
            except LibvirtCallError as error:
                return await self._reached(wanted, error)
            except HotplugError as error:
                if not done:
                    raise
                return SetResult(tuple(done), numbers[0], error.code, error.msg)
            done += numbers
        return SetResult(tuple(wanted))

    async def close(self) -> None:
        await self._files.close()

    async def _call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call libvirt with a timeout; libvirt itself waits without limit for an agent that has begun to reply."""
        try:
            return await within(self._timeout, self._connection.call(function, *arguments))
        except asyncio.TimeoutError:
            raise HotplugError(
                AGENT_ERROR,
                f"the guest agent has not replied to libvirt within {self._timeout:g} s: check whether it is busy "
                "or the agent hangs, then run the task again",
            ) from None

    async def _reached(self, wanted: Mapping[int, bool], error: LibvirtCallError) -> SetResult:
        """Query the guest, because libvirt does not report how many CPUs the agent has processed."""
        failure = _error("to online or offline CPUs", error)
        after = {cpu.number: cpu.online for cpu in await self.cpus()}
        done = tuple(number for number, state in wanted.items() if after.get(number) is state)
        left = [number for number in wanted if number not in done]
        if not left:
            return SetResult(done)
        return SetResult(done, left[0], failure.code, failure.msg, refused=failure.code == AGENT_ERROR)


def _guest_vcpus(domain: libvirt.virDomain) -> Mapping[str, str]:
    """The binding of this call returns None instead of raising; the error is the thread's last one."""
    reply: Mapping[str, str] | None = domain.guestVcpus()
    if reply is None:
        raise imported().libvirtError("virDomainGetGuestVcpus() failed")
    return reply


class _LibvirtTransport:
    """Sends any command to the agent."""

    def __init__(self, connection: Connection, domain: libvirt.virDomain) -> None:
        self._connection = connection
        self._domain = domain

    async def ask(self, command: str, arguments: Mapping[str, Any], deadline: float) -> Any:
        question = {"execute": command, **({"arguments": dict(arguments)} if arguments else {})}
        seconds = max(1, round(deadline - time.monotonic()))
        try:
            text: Any = await self._connection.call(
                imported_for_qemu().qemuAgentCommand, self._domain, json.dumps(question), seconds, 0
            )
            return read_object(text)["return"]
        except LibvirtCallError as error:
            if error.number in _UNAVAILABLE:
                raise _error(command, error) from None
            # libvirt returns the agent's own error as text.
            raise CommandError("GenericError", error.desc) from None
        except (ValueError, KeyError, TypeError):
            raise invalid_reply(command, text) from None

    async def close(self) -> None:
        return None


def _error(what: str, error: LibvirtCallError) -> HotplugError:
    if error.number in _UNAVAILABLE:
        return HotplugError(
            AGENT_UNAVAILABLE,
            f"the guest agent cannot be asked {what}: {error.desc}; start qemu-guest-agent in the guest, and give "
            "the domain a channel org.qemu.guest_agent.0 if it has none",
        )
    return HotplugError(
        AGENT_ERROR, f"the guest agent was asked {what}: {error.desc}; see the agent's log in the guest"
    )
