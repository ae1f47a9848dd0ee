# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many monitors in one process that reply as one real QEMU does: python3 -m fleets.recorded SOCKET FOLDER COUNT.

The replies of the QEMU at SOCKET are recorded at the first request for each and are given to all others. Only the name
and the UUID differ from guest to guest. Nothing can be changed in such a guest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from lab.observer import Monitor, MonitorError

READY = "ready"
CHANGES = ("device_add", "device_del", "object-add", "chardev-add", "stop", "cont", "quit")


class Recording:
    """The replies of a QEMU."""

    def __init__(self, path: str) -> None:
        self._monitor = Monitor(path)
        self._replies: dict[str, dict[str, Any]] = {}
        self.greeting = self._monitor.greeting

    def reply(self, number: int, request: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to a request to the guest of this number."""
        command, arguments = request["execute"], request.get("arguments", {})
        if command == "query-name":
            return {"return": {"name": f"g{number}"}}
        if command == "query-uuid":
            return {"return": {"UUID": str(uuid.UUID(int=number))}}
        if command == "qmp_capabilities":
            return {"return": {}}
        key = json.dumps([command, arguments], sort_keys=True)
        if key not in self._replies:
            self._replies[key] = self._ask(command, arguments)
        return self._replies[key]

    def _ask(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if command in CHANGES:
            return {"error": {"class": "GenericError", "desc": "this guest is a recording"}}
        try:
            return {"return": self._monitor.execute(command, **arguments)}
        except MonitorError as error:
            return {"error": error.error}


async def _requests(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """Yield the requests of a client, which need not end its lines."""
    decoder = json.JSONDecoder()
    text = ""
    while chunk := await reader.read(65536):
        text = (text + chunk.decode("ascii")).lstrip()
        with contextlib.suppress(ValueError):
            while text:
                request, end = decoder.raw_decode(text)
                text = text[end:].lstrip()
                yield request


async def _serve(path: str, folder: Path, count: int) -> None:
    recording = Recording(path)

    def listener(number: int) -> Any:
        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(json.dumps(recording.greeting).encode() + b"\r\n")
            with contextlib.suppress(ConnectionError):
                async for request in _requests(reader):
                    reply = recording.reply(number, request)
                    if "id" in request:
                        reply = {**reply, "id": request["id"]}
                    writer.write(json.dumps(reply).encode() + b"\r\n")
                    await writer.drain()
            writer.close()

        return converse

    for number in range(count):
        await asyncio.start_unix_server(listener(number), folder / f"g{number}.qmp")
    print(READY, flush=True)
    # The one who started it holds the other end.
    await asyncio.to_thread(sys.stdin.read)


@contextlib.contextmanager
def recorded(path: str, folder: Path, count: int) -> Iterator[list[str]]:
    """Serve this many monitors by another process, and return their sockets."""
    command = [sys.executable, "-m", "fleets.recorded", path, str(folder), str(count)]
    tests = Path(__file__).absolute().parents[1]
    with subprocess.Popen(command, cwd=tests, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline().strip() == READY
            yield [str(folder / f"g{number}.qmp") for number in range(count)]
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
