# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One QMP conversation over qemu.qmp: every failure becomes a HotplugError, within a time limit."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.messages import message_reader
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import (
    CommandError,
    describe,
    disconnect,
    is_no_socket,
    parse_address,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONNECTION_LOST,
    MONITOR_BUSY,
    MONITOR_UNREACHABLE,
    HotplugError,
    MissingLibrary,
    NoListener,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.timeouts import within

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

# QEMU sends the greeting immediately if the monitor is free; a TCG guest on a loaded host took up to 2 seconds.
GREETING_SECONDS = 10.0
# 4096 vCPUs take less than 1 MiB of a reply.
LONGEST_REPLY = 4 * 1024 * 1024

_UCRED = struct.Struct("=iII")

Command = tuple[str, Mapping[str, Any]]


class Monitor:
    """A QMP session with one QEMU; ``timeout`` limits each round of commands, in seconds."""

    def __init__(self, address: str, timeout: float) -> None:
        try:
            self._client, self._is_accepted, self._peer_pid = _client_without_logs()
        except ImportError as error:
            raise MissingLibrary("qemu.qmp", "https://pypi.org/project/qemu.qmp/") from error
        self._address = address
        self._timeout = timeout
        # A listener would keep every event that it accepts forever; a hostile peer could exhaust the memory.
        self._client.events.event_filter = self._pass_on
        self._handler: Callable[[Mapping[str, Any]], None] = lambda event: None
        self._loss: asyncio.Task[HotplugError] | None = None

    async def connect(self) -> None:
        """Connect and negotiate.

        Raises ``HotplugError``: monitor_unreachable if no process listens, the host does not reply or the peer is not
        QMP, monitor_busy if the monitor accepts the connection but sends no greeting.
        """
        from qemu.qmp import ConnectError

        limit = min(GREETING_SECONDS, self._timeout)
        try:
            await within(limit, self._client.connect(parse_address(self._address)))
        except asyncio.TimeoutError:
            if not self._is_accepted():
                raise HotplugError(
                    MONITOR_UNREACHABLE,
                    f"the host of the monitor at {self._address} did not accept the connection within {limit:g} s: "
                    "check that it can be reached",
                ) from None
            raise HotplugError(
                MONITOR_BUSY,
                f"the monitor at {self._address} sent no greeting within {limit:g} s: another client holds it "
                "(QEMU serves one at a time), or QEMU hangs; end the other client, or give QEMU a second -qmp socket",
            ) from None
        except ConnectError as error:
            if is_no_socket(self._address):
                raise HotplugError(
                    MONITOR_UNREACHABLE,
                    f"{self._address} is not a socket: set qmp_socket to the socket of QEMU's -qmp",
                ) from error
            why = _why_unreachable(self._address, error.exc)
            if isinstance(error.exc, (FileNotFoundError, ConnectionRefusedError)):
                raise NoListener(why) from error
            raise HotplugError(MONITOR_UNREACHABLE, why) from error

    def on_event(self, handler: Callable[[Mapping[str, Any]], None]) -> None:
        """Call ``handler`` with each event from now on; no event is kept."""
        self._handler = handler

    def _pass_on(self, event: Mapping[str, Any]) -> bool:
        self._handler(event)
        return False

    @property
    def qemu_version(self) -> tuple[int, int]:
        """The major and the minor version of QEMU by its greeting; zeros without one."""
        greeting = self._client.greeting
        numbers = greeting.QMP.version.get("qemu") if greeting is not None else None
        major, minor = (numbers.get(name) if isinstance(numbers, dict) else None for name in ("major", "minor"))
        return (major, minor) if isinstance(major, int) and isinstance(minor, int) else (0, 0)

    def peer_pid(self) -> int | None:
        """Return the process that listens at the monitor's UNIX socket, by the kernel; None if it is not known here."""
        return self._peer_pid()

    async def execute(self, command: str, **arguments: Any) -> Any:
        """Return QEMU's reply; raises ``CommandError`` for its error, ``HotplugError`` (connection_lost)."""
        answer = (await self.execute_all([(command, arguments)]))[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands at once and return their replies in the same order.

        If QEMU refused a command, the item is its ``CommandError``; if the conversation ended before the reply, it is
        a ``HotplugError`` (connection_lost), so that the caller knows which commands got a reply.
        """
        if not commands:
            return []
        tasks = [asyncio.ensure_future(self._one(command, arguments)) for command, arguments in commands]
        try:
            await asyncio.wait(tasks, timeout=self._timeout)
            late = [task for task in tasks if not task.done()]
        finally:
            for task in tasks:
                task.cancel()
        if late:
            await asyncio.wait(late)
            self._lose(
                f"the monitor at {self._address} stopped replying: no reply within {self._timeout:g} s; "
                "check whether QEMU hangs, then run the task again"
            )
        return [await self._lost() if task in late else task.result() for task in tasks]

    async def close(self) -> None:
        """End the conversation; errors of a peer that has ended or hangs are ignored."""
        if self._loss is None:
            await disconnect(self._client)
        else:
            await self._loss

    async def _one(self, command: str, arguments: Mapping[str, Any]) -> Any:
        from qemu.qmp import ExecuteError, QMPError

        if self._loss is not None:
            return await self._lost()
        try:
            return await self._client.execute(command, dict(arguments) if arguments else None)
        except ExecuteError as error:
            return CommandError(error.error_class, str(error))
        except QMPError as error:
            self._lose(
                f"the connection to the monitor at {self._address} was lost ({{cause}}): "
                "check whether QEMU still runs, then run the task again, which continues from the present state",
                error,
            )
            return await self._lost()

    def _lose(self, msg: str, error: Exception | None = None) -> None:
        """End the session, once; qemu.qmp reports the cause only when it disconnects."""

        async def explain() -> HotplugError:
            cause = await disconnect(self._client) or error or EOFError()
            return HotplugError(CONNECTION_LOST, msg.replace("{cause}", describe(cause)))

        if self._loss is None:
            self._loss = asyncio.ensure_future(explain())

    async def _lost(self) -> HotplugError:
        if self._loss is None:
            raise RuntimeError("the session was not lost")
        return await asyncio.shield(self._loss)


def _client_without_logs() -> tuple[QMPClient, Callable[[], bool], Callable[[], int | None]]:
    """Return a client, and functions that return whether the peer has accepted it, and the process at its other end."""
    from qemu.qmp import Message, QMPClient

    read = message_reader()

    class SilentLogClient(QMPClient):
        """Formats no messages for a log that is not written, which would take a third of a run's time."""

        has_connected = False
        peer_pid: int | None = None

        def __init__(self, name: str, readbuflen: int) -> None:
            super().__init__(name, readbuflen=readbuflen)
            self._unsent: list[bytes] = []

        async def _establish_session(self) -> None:
            self.has_connected = True
            # Now, because the socket is closed when the peer ends.
            self.peer_pid = None if self._writer is None else _peer_pid(self._writer)
            await super()._establish_session()

        async def _do_recv(self) -> Message:
            return read(await self._readline())

        def _do_send(self, msg: Message) -> None:
            # Commands that are sent at once go out in one write: each system call wakes QEMU up.
            if not self._unsent:
                asyncio.get_running_loop().call_soon(self._write_unsent)
            self._unsent.append(bytes(msg))

        def _write_unsent(self) -> None:
            data = b"".join(self._unsent)
            self._unsent.clear()
            if self._writer is not None:
                self._writer.write(data)

        def _cb_outbound(self, msg: Message) -> Message:
            return msg

        def _cb_inbound(self, msg: Message) -> Message:
            return msg

    client = SilentLogClient("kvm.hotplug", readbuflen=LONGEST_REPLY)
    return client, lambda: client.has_connected, lambda: client.peer_pid


def _peer_pid(writer: asyncio.StreamWriter) -> int | None:
    """Return the process at the other end, None if it has no id in this namespace."""
    peer = writer.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX:
        return None
    try:
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return None
    # unix(7): struct ucred begins with the id, which is 0 for a process of another namespace.
    return int(_UCRED.unpack(credentials)[0]) or None


def _why_unreachable(address: str, error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no monitor socket at {address}: is the guest running, and was QEMU started with that -qmp?"
    if isinstance(error, ConnectionRefusedError):
        return f"no process listens at {address}: the QEMU that made this socket has ended; start the guest"
    if isinstance(error, PermissionError):
        return f"no permission to connect to the monitor at {address}: run the task as a user who may (become: true)"
    if isinstance(error, OSError):
        return f"cannot connect to the monitor at {address}: {describe(error)}"
    return (
        f"the peer at {address} is not a QMP monitor ({describe(error)}): "
        "set qmp_socket to a socket made with -qmp, not a human monitor, serial line or guest agent"
    )
