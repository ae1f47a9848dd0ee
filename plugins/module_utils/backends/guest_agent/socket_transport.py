# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transport to a guest's agent over the socket of its port, for a QEMU guest not managed by libvirt."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.agent import GuestAgent
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.client import QemuAgent
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.framing import (
    LONGEST_REPLY,
    SENTINEL,
    SYNC,
    Dialect,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.unix_sockets import (
    Connection,
    connections,
    is_held,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.messages import message_reader
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import (
    CommandError,
    describe,
    disconnect,
    is_no_socket,
    parse_address,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    AGENT_ERROR,
    AGENT_UNAVAILABLE,
    HotplugError,
    MissingLibrary,
    printable,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.timeouts import within

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

# The same time as libvirt allows. An idle agent needs a tenth of a second at most.
SYNC_SECONDS = 5.0

START_AGENT = "start qemu-guest-agent in the guest"
ONE_AT_A_TIME = "QEMU serves one client at a time on this socket: end the other client"


def agent_at(address: str, timeout: float) -> GuestAgent:
    """Return the agent at the socket ``address``, a path or host:port; raises ``MissingLibrary``."""
    return GuestAgent(commands_at(address, timeout))


def commands_at(address: str, timeout: float) -> QemuAgent:
    """Return the same agent, with an interface in the guest's own CPU numbers."""
    return QemuAgent(SocketTransport(address), timeout)


class SocketTransport:
    """Connects when necessary, and synchronizes again after anything but a complete reply."""

    def __init__(self, address: str) -> None:
        try:
            import qemu.qmp  # noqa: F401
        except ImportError as error:
            raise MissingLibrary("qemu.qmp", "https://pypi.org/project/qemu.qmp/") from error
        self._address = address
        self._name = printable(address)
        self._dialect = Dialect()
        self._client: QMPClient | None = None
        self._in_step = False
        # Whether this connection has ever received a reply: then no other client holds the socket.
        self._served = False
        self._other_connections: frozenset[Connection] = frozenset()
        self._path: str | None = None

    async def ask(self, command: str, arguments: Mapping[str, Any], deadline: float) -> Any:
        client = await self._ready(deadline)
        self._in_step = False
        try:
            answer = await self._exchange(client, command, arguments, deadline)
        except asyncio.TimeoutError:
            raise HotplugError(
                AGENT_ERROR,
                f"the guest agent at {self._name} did not complete its reply to {command} in time: check whether the "
                "guest is busy or the agent hangs, then run the task again, if necessary with a longer timeout",
            ) from None
        self._in_step = True
        if isinstance(answer, CommandError):
            raise answer
        return answer

    async def close(self) -> None:
        if self._client is not None:
            await disconnect(self._client)
        self._client = None

    async def _ready(self, deadline: float) -> QMPClient:
        """Return a client that is connected and synchronized: its next reply is to the next command."""
        client = self._client or await self._connect(deadline)
        if self._in_step:
            return client
        limit = max(0.0, min(SYNC_SECONDS, deadline - time.monotonic()))
        try:
            # Positive in 31 bits: agents of all platforms return it unchanged.
            answer = await self._exchange(
                client, SYNC, {"id": secrets.randbelow(2**31 - 1) + 1}, time.monotonic() + limit
            )
        except asyncio.TimeoutError:
            raise self._silence(limit) from None
        if isinstance(answer, CommandError):
            raise self._invalid_reply(SYNC, answer)
        self._in_step = self._served = True
        return client

    async def _exchange(self, client: QMPClient, command: str, arguments: Mapping[str, Any], deadline: float) -> Any:
        """Return the agent's reply, or its ``CommandError``; raises ``asyncio.TimeoutError``, ``HotplugError``."""
        from qemu.qmp import ExecuteError, QMPError
        from qemu.qmp.qmp_client import BadReplyError

        try:
            return await within(
                max(0.0, deadline - time.monotonic()), client.execute(command, dict(arguments) if arguments else None)
            )
        except ExecuteError as error:
            return CommandError(error.error_class, str(error))
        except BadReplyError as error:
            raise self._invalid_reply(command, error) from error
        except QMPError as error:
            self._client = None
            cause = await disconnect(client) or error
            if isinstance(cause, (EOFError, OSError)):
                raise HotplugError(
                    AGENT_UNAVAILABLE,
                    f"the connection to the guest agent at {self._name} ended ({describe(cause)}): check whether QEMU "
                    "still runs and which other clients use this socket, then run the task again",
                ) from error
            raise self._invalid_reply(command, cause) from error

    async def _connect(self, deadline: float) -> QMPClient:
        """Raises ``HotplugError`` (agent_unavailable)."""
        from qemu.qmp import ConnectError

        self._in_step = self._served = False
        self._dialect = Dialect()
        self._other_connections, self._path = frozenset(), None
        address = parse_address(self._address)
        client = _agent_client(self._dialect)
        limit = max(0.0, min(SYNC_SECONDS, deadline - time.monotonic()))
        with contextlib.ExitStack() as connected:
            try:
                if isinstance(address, str):
                    self._other_connections = connections()
                    connection = connected.enter_context(_unix_connection(address))
                    self._path = connection.getpeername()
                    await within(limit, client.connect(connection))
                else:
                    await within(limit, client.connect(address))
            except asyncio.TimeoutError:
                raise HotplugError(
                    AGENT_UNAVAILABLE,
                    f"the connection to {self._name} timed out after {limit:.1f} s: check the host, the port and the "
                    "firewall of the guest agent's socket",
                ) from None
            except (ConnectError, OSError, ValueError) as error:
                cause = error.exc if isinstance(error, ConnectError) else error
                raise HotplugError(AGENT_UNAVAILABLE, _why_unreachable(self._name, cause)) from error
            # From now on the client closes it.
            connected.pop_all()
        self._client = client
        return client

    def _silence(self, limit: float) -> HotplugError:
        """Why the agent did not synchronize, as far as that is known."""
        if self._dialect.rejected_text:
            return HotplugError(
                AGENT_ERROR,
                f"the peer at {self._name} does not reply like a guest agent ({self._dialect.rejected_text}): "
                f"allow {SYNC} in the agent's configuration, or name the socket of the agent's port",
            )
        held: bool | None = None
        if self._served:
            held = False
        elif self._path is not None:
            held = is_held(self._path, self._other_connections)
        if held:
            why = f"another client holds the socket; {ONE_AT_A_TIME}"
        elif held is None:
            why = f"it does not run in the guest ({START_AGENT}), or another client holds the socket ({ONE_AT_A_TIME})"
        else:
            why = f"it does not run in the guest, or hangs, or the guest does; {START_AGENT}, or restart it"
        return HotplugError(
            AGENT_UNAVAILABLE, f"the guest agent at {self._name} did not reply within {limit:.1f} s: {why}"
        )

    def _invalid_reply(self, command: str, cause: BaseException) -> HotplugError:
        return HotplugError(
            AGENT_ERROR,
            f"the guest agent at {self._name} sent an invalid reply to {command} ({describe(cause)}): "
            "check whether the agent in the guest is broken, or whether this is another socket",
        )


def _agent_client(dialect: Dialect) -> QMPClient:
    from qemu.qmp import Message, QMPClient
    from qemu.qmp.error import ProtocolError

    read = message_reader()
    # qemu.qmp fails if a peer closes the session before connect() has returned.
    begun = asyncio.Event()

    class SocketClient(QMPClient):
        """A client that speaks ``dialect``."""

        def _cb_outbound(self, msg: Message) -> Message:
            dialect.prepare(msg)
            return msg

        def _cb_inbound(self, msg: Message) -> Message:
            return msg

        def _do_send(self, msg: Message) -> None:
            if msg["execute"] == SYNC and self._writer is not None:
                self._writer.write(SENTINEL)
            super()._do_send(msg)
            begun.set()

        async def _do_recv(self) -> Message:
            await begun.wait()
            while True:
                answer = dialect.reply_in(await self._readline())
                if answer is not None:
                    message = read(answer)
                    if dialect.assign_id(message):
                        return message
                if dialect.is_flooded:
                    raise ProtocolError("it sends more than any reply contains")
                # A flood of data must not delay the check of the deadline.
                await asyncio.sleep(0)

    client = SocketClient("kvm.hotplug.agent", readbuflen=LONGEST_REPLY)
    client.await_greeting = client.negotiate = False
    return client


def _unix_connection(path: str) -> socket.socket:
    """Connect immediately; raises ``BlockingIOError`` if other clients wait already, which asyncio would not detect."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.setblocking(False)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _why_unreachable(name: str, error: BaseException) -> str:
    if isinstance(error, BlockingIOError):
        return f"other clients hold the guest agent's socket at {name} and wait for it; {ONE_AT_A_TIME}"
    if isinstance(error, FileNotFoundError):
        return (
            f"there is no guest agent socket at {name}: is the guest running, and has its QEMU a virtserialport "
            "named org.qemu.guest_agent.0 with this chardev?"
        )
    if isinstance(error, ConnectionRefusedError) and is_no_socket(name):
        return f"{name} is not a socket, so no guest agent listens there: name the socket of the agent's chardev"
    if isinstance(error, ConnectionRefusedError):
        return f"no process listens at {name}: the QEMU that made this socket has ended; start the guest"
    if isinstance(error, PermissionError):
        return f"no permission to connect to the guest agent at {name}: run the task as a user who may (become: true)"
    return f"cannot connect to the guest agent at {name}: {describe(error)}"
