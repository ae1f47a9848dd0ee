# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the guest agent, over any transport."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.replies import (
    is_unable,
    read_cpus,
    read_handle,
    read_processed,
    read_text,
    unable,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.sysfs import LONGEST_FILE, read_slots
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import AGENT_ERROR, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import SetResult

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.commands import GuestCpu

CLEANUP_SECONDS = 2.0


class Transport(Protocol):
    """Sends one command at a time to the agent, and returns its reply."""

    async def ask(self, command: str, arguments: Mapping[str, Any], deadline: float) -> Any:
        """Return the agent's reply by ``deadline``, a time of ``time.monotonic()``.

        Raises ``CommandError`` for an error of the agent, ``HotplugError`` (agent_unavailable, agent_error) without a
        reply.
        """

    async def close(self) -> None:
        """Close the connection; never raises."""


class QemuAgent:
    """The qemu-guest-agent at the other end of ``transport``; ``timeout`` limits each method, in seconds."""

    def __init__(self, transport: Transport, timeout: float) -> None:
        self._transport = transport
        self._timeout = timeout
        # Handles of the guest's files that have not been closed yet.
        self._open: set[int] = set()

    async def cpus(self) -> tuple[GuestCpu, ...]:
        try:
            return read_cpus(await self._transport.ask("guest-get-vcpus", {}, self._deadline()))
        except CommandError as refusal:
            raise unable("guest-get-vcpus", refusal) from refusal

    async def slots(self, numbers: Collection[int]) -> Mapping[int, int] | None:
        files = _Files(self._transport, self._open, self._deadline())
        await files.close_all()
        return await read_slots(files, numbers)

    async def set_cpus(self, wanted: Mapping[int, bool]) -> SetResult:
        deadline = self._deadline()
        rest = list(wanted)
        processed: list[int] = []
        while rest:
            items = [{"logical-id": number, "online": wanted[number]} for number in rest]
            try:
                reply = await self._transport.ask("guest-set-vcpus", {"vcpus": items}, deadline)
                count = read_processed(reply, len(rest))
            except CommandError as refusal:
                if is_unable(refusal) and not processed:
                    raise unable("guest-set-vcpus", refusal) from refusal
                reason = f"the guest refused: {refusal.desc}"
                return SetResult(tuple(processed), rest[0], AGENT_ERROR, reason, refused=True)
            except HotplugError as error:
                if not processed:
                    raise
                return SetResult(tuple(processed), rest[0], error.code, error.msg)
            processed += rest[:count]
            del rest[:count]
        return SetResult(tuple(processed))

    async def close(self) -> None:
        if self._open:
            with contextlib.suppress(HotplugError):
                await _Files(self._transport, self._open, time.monotonic() + CLEANUP_SECONDS).close_all()
        await self._transport.close()

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout


class _Files:
    """The guest's files; ``handles`` contains those that stay open when the connection ends."""

    def __init__(self, transport: Transport, handles: set[int], deadline: float) -> None:
        self._transport = transport
        self._handles = handles
        self._deadline = deadline

    async def read(self, path: str) -> str:
        handle = read_handle(await self._ask("guest-file-open", path=path, mode="r"))
        self._handles.add(handle)
        try:
            reply = await self._ask("guest-file-read", handle=handle, count=LONGEST_FILE)
        except CommandError:
            await self._close(handle)
            raise
        await self._close(handle)
        return read_text(reply, LONGEST_FILE)

    async def close_all(self) -> None:
        """Close the files that are still open."""
        for handle in sorted(self._handles):
            await self._close(handle)

    async def _close(self, handle: int) -> None:
        # An error means that there is no such handle (any more).
        with contextlib.suppress(CommandError):
            await self._ask("guest-file-close", handle=handle)
        self._handles.discard(handle)

    async def _ask(self, command: str, **arguments: Any) -> Any:
        return await self._transport.ask(command, arguments, self._deadline)
