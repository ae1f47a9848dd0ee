# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A scripted QMP peer: a server in its own thread that follows a script and records what it receives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import traceback
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, Callable

Message = Mapping[str, Any]
Talk = Callable[["Line"], Awaitable[None]]
AsUsual = Callable[[], Awaitable[None]]
Trick = Callable[["Line", Message, AsUsual], Awaitable[None]]

VERSION = (10, 0)
MUTATING = ("device_add", "device_del")
STARTING_SECONDS = 10


class Unscripted(Exception):
    """The peer received a command that its script does not contain."""


class Line:
    """The connection to one client."""

    def __init__(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peer = peer
        self._reader = reader
        self._writer = writer
        self._unread = ""

    async def receive(self) -> Message | None:
        """Return the client's next command, None if it has disconnected."""
        while True:
            # Like QEMU's parser: clients need not end a command with a newline.
            with contextlib.suppress(json.JSONDecodeError):
                command, end = json.JSONDecoder().raw_decode(self._unread)
                self._unread = self._unread[end:].lstrip()
                self._peer.received.append(command)
                return dict(command)
            data = await self._reader.read(65536)
            if not data:
                return None
            self._unread = (self._unread + data.decode()).lstrip()

    async def say(self, *messages: Message) -> None:
        await self.say_raw(b"".join(json.dumps(message).encode() + b"\r\n" for message in messages))

    async def say_raw(self, text: bytes) -> None:
        self._writer.write(text)
        await self._writer.drain()

    async def reply(self, command: Message, answer: Message) -> None:
        await self.say({**answer, **({"id": command["id"]} if "id" in command else {})})

    async def wait(self) -> None:
        """Send nothing until the client disconnects."""
        while await self._reader.read(65536):
            pass

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def greeting(major: int, minor: int) -> Message:
    """What a QEMU of this version says first."""
    return {"QMP": {"version": {"qemu": {"micro": 2, "minor": minor, "major": major}}, "capabilities": ["oob"]}}


class Conversation:
    """A QEMU's side of a conversation: a greeting, and an answer to each command; ``tricks`` play with single ones."""

    def __init__(self) -> None:
        self._tricks: dict[str, Trick] = {}
        self._version = VERSION

    def of_version(self, major: int, minor: int) -> Conversation:
        """Have the greeting name this version of QEMU."""
        self._version = (major, minor)
        return self

    def but(self, command: str, trick: Trick) -> Conversation:
        """Have ``trick`` deal with one command; it may still have the usual done."""
        self._tricks[command] = trick
        return self

    async def __call__(self, line: Line) -> None:
        await line.say(greeting(*self._version))
        await self.begin(line)
        try:
            while True:
                command = await line.receive()
                if command is None:
                    return
                await self._take(line, command)
        finally:
            await self.end()

    async def _take(self, line: Line, command: Message) -> None:
        async def as_usual() -> None:
            if command["execute"] == "qmp_capabilities":
                await line.reply(command, {"return": {}})
            else:
                await self.answer(line, command)

        trick = self._tricks.get(command["execute"])
        await (as_usual() if trick is None else trick(line, command, as_usual))

    async def begin(self, line: Line) -> None:
        """A client has come."""

    async def end(self) -> None:
        """The client has gone."""

    async def answer(self, line: Line, command: Message) -> None:
        raise Unscripted(command)


class Peer:
    """The server, on the UNIX socket ``path`` or on a TCP port, while its ``with`` block lasts.

    Each client gets the next of ``talks``, those after it the last. What a script does not hold ends the
    connection, and fails the test when the block ends.
    """

    def __init__(self, *talks: Talk, path: Path | None = None) -> None:
        self.received: list[Message] = []
        self.clients = 0
        self.address = "" if path is None else str(path)
        self._talks = talks
        self._complaints: list[str] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="qmp-peer")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def changes(self) -> list[str]:
        """The mutating commands it was sent, as ``device_add vcpu5``."""
        return [
            f"{command['execute']} {command['arguments']['id'].rpartition('/')[2]}"
            for command in self.received
            if command["execute"] in MUTATING
        ]

    @property
    def commands(self) -> list[str]:
        """The names of all commands it was sent."""
        return [command["execute"] for command in self.received]

    def __enter__(self) -> Peer:
        self._thread.start()
        if not self._ready.wait(STARTING_SECONDS):
            raise TimeoutError("the peer did not start")
        return self

    def __exit__(self, kind: object, _error: object, _traceback: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._complaints and kind is None:
            raise AssertionError("\n".join(self._complaints))

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        visits: set[asyncio.Task[None]] = set()

        def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            visits.add(asyncio.ensure_future(self._talk(Line(self, reader, writer))))

        if self.address:
            server = await asyncio.start_unix_server(welcome, self.address)
        else:
            server = await asyncio.start_server(welcome, "127.0.0.1", 0)
            self.address = "{}:{}".format(*server.sockets[0].getsockname())
        self._ready.set()
        await self._stop.wait()
        server.close()
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)

    async def _talk(self, line: Line) -> None:
        talk = self._talks[min(self.clients, len(self._talks) - 1)]
        self.clients += 1
        try:
            await talk(line)
        except ConnectionError:
            # The client has gone: what it has not read is of no interest.
            return
        except Exception:  # noqa: BLE001  # whatever it is, the test has to report it
            self._complaints.append(traceback.format_exc())
        finally:
            await line.close()
