# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Peers with the agent's protocol: one that replays a recorded agent, and one of a simulated guest."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, TypeVar

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.client import QemuAgent
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.socket_transport import commands_at
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist

from .peer import AsUsual, Line, Message, Trick, Unscripted

# Recorded with qemu-ga 7.2 in guests of QEMU 10.0: vCPU 5 plugged beside 0 and 1, and on pseries 12-15 beside 0-3.
RECORDED: Mapping[str, Any] = json.loads((Path(__file__).parent / "agents-7.2.json").read_text())

SYNC = "guest-sync-delimited"
STRAY: Message = {"error": {"class": "GenericError", "desc": "JSON parse error, stray '\\uFFFD'"}}
DISABLED = "Command {} has been disabled"

T = TypeVar("T")
Talk = TypeVar("Talk", bound="AgentTalk")


def asked(address: str, question: Callable[[QemuAgent], Awaitable[T]], timeout: float = 10.0) -> T:
    """Ask the agent at ``address`` one question, and hang up."""

    async def ask() -> T:
        agent = commands_at(address, timeout)
        try:
            return await question(agent)
        finally:
            await agent.close()

    return asyncio.run(ask())


class AgentLine(Line):
    """A line reader that supports the byte at which the agent discards an incomplete command."""

    def __init__(self, line: Line) -> None:
        super().__init__(line._peer, line._reader, line._writer)
        self._unread = line._unread

    async def receive(self) -> Message | None:
        while True:
            try:
                command, end = json.JSONDecoder().raw_decode(self._unread)
            except json.JSONDecodeError:
                data = await self._reader.read(65536)
                if not data:
                    return None
                *before, last = data.split(b"\xff")
                for _forgotten in before:
                    self._unread = ""
                    await self.say(STRAY)
                self._unread = (self._unread + last.decode()).lstrip()
                continue
            self._unread = self._unread[end:].lstrip()
            self._peer.received.append(command)
            return dict(command)


class AgentTalk:
    """The agent's side of a conversation; ``tricks`` change the replies to single commands."""

    def __init__(self) -> None:
        self._tricks: dict[str, Trick] = {}

    def but(self: Talk, command: str, trick: Trick) -> Talk:
        """Have ``trick`` deal with one command; it may still have the usual done."""
        self._tricks[command] = trick
        return self

    async def __call__(self, line: Line) -> None:
        line = AgentLine(line)
        while True:
            command = await line.receive()
            if command is None:
                return
            await self._take(line, command)

    async def _take(self, line: Line, command: Message) -> None:
        async def as_usual() -> None:
            if command["execute"] == SYNC:
                await sync(line, command["arguments"]["id"])
            else:
                await line.reply(command, self.answer(command))

        trick = self._tricks.get(command["execute"])
        await (as_usual() if trick is None else trick(line, command, as_usual))

    def answer(self, command: Message) -> Message:
        raise Unscripted(command)


class Recorded(AgentTalk):
    """The replies of a real agent in these situations, in order, to exactly the same commands."""

    def __init__(self, *situations: str) -> None:
        super().__init__()
        self._told = [entry for situation in situations for entry in RECORDED[situation]]

    def answer(self, command: Message) -> Message:
        if not self._told or self._told[0]["command"] != command:
            raise Unscripted(command)
        reply: Message = self._told.pop(0)["reply"]
        return reply


class LinuxAgent(AgentTalk):
    """The agent of a guest with these vCPUs; its CPUs are numbered from 0 in the order given.

    ``stubborn`` are the CPUs it will not offline, ``blocked`` the commands its configuration forbids, and ``at_once``
    is how many CPUs it deals with before something comes between. ``files`` are those of its sysfs, or make them of
    its vCPUs.
    """

    def __init__(
        self,
        vcpus: Iterable[int],
        stubborn: Iterable[int] = (0,),
        blocked: Iterable[str] = (),
        at_once: int = 65536,
        files: Mapping[str, str] | Callable[[Sequence[int]], Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__()
        self.vcpus = list(vcpus)
        self.online = dict.fromkeys(range(len(self.vcpus)), True)
        self.open: dict[int, str] = {}
        self._stubborn = frozenset(stubborn)
        self._blocked = frozenset(blocked)
        self._at_once = at_once
        self._handle = 1000
        self._make_files = acpi_files if files is None else files

    @property
    def _files(self) -> Mapping[str, str]:
        return self._make_files(self.vcpus) if callable(self._make_files) else self._make_files

    def plug(self, vcpu: int) -> None:
        """Have the guest see one more vCPU, and run on it."""
        self.online[len(self.vcpus)] = True
        self.vcpus.append(vcpu)

    def answer(self, command: Message) -> Message:
        name, arguments = command["execute"], command.get("arguments", {})
        if name in self._blocked:
            return failure(DISABLED.format(name), "CommandNotFound")
        if name == "guest-get-vcpus":
            return {"return": [self._entry(number) for number in reversed(self.online)]}
        if name == "guest-set-vcpus":
            return self._set(arguments["vcpus"])
        if name == "guest-file-open":
            return self._opened(arguments["path"])
        handle = arguments["handle"]
        if handle not in self.open:
            return failure(f"handle '{handle}' has not been found")
        if name == "guest-file-close":
            del self.open[handle]
            return {"return": {}}
        text = self._files[self.open[handle]].encode()[: arguments["count"]]
        return {"return": {"count": len(text), "buf-b64": base64.b64encode(text).decode(), "eof": True}}

    def _entry(self, number: int) -> Message:
        return {"online": self.online[number], "can-offline": number not in self._stubborn, "logical-id": number}

    def _set(self, items: list[Message]) -> Message:
        for count, item in enumerate(items[: self._at_once]):
            number = item["logical-id"]
            if number not in self.online or (number in self._stubborn and not item["online"]):
                return {"return": count} if count else failure(f"logical processor #{number} can't be offlined")
            self.online[number] = item["online"]
        return {"return": min(len(items), self._at_once)}

    def _opened(self, path: str) -> Message:
        if path not in self._files:
            return failure(f"failed to open file '{path}' (mode: 'r'): No such file or directory")
        self._handle += 1
        self.open[self._handle] = path
        return {"return": self._handle}


def acpi_files(vcpus: Sequence[int]) -> dict[str, str]:
    """Return what the sysfs of an x86 guest holds, whose CPUs are these vCPUs."""
    return {
        f"/sys/devices/system/cpu/cpu{number}/firmware_node/path": f"\\_SB_.CPUS.C{vcpu:03X}\n"
        for number, vcpu in enumerate(vcpus)
    }


def address_files(vcpus: Sequence[int]) -> dict[str, str]:
    """Return what the sysfs of a s390x guest holds."""
    files = {f"/sys/devices/system/cpu/cpu{number}/address": f"{vcpu}\n" for number, vcpu in enumerate(vcpus)}
    return {**files, "/sys/devices/system/cpu/present": format_cpulist(range(len(vcpus))) + "\n"}


def pseries_files(vcpus: Iterable[int], possible: int = 0) -> dict[str, str]:
    """Return what the sysfs of a pseries guest holds, whose first CPUs are these vCPUs."""
    there = list(vcpus)
    ids = [*there, *[0] * (possible - len(there))]
    files = {f"/sys/devices/system/cpu/cpu{number}/physical_id": f"{vcpu}\n" for number, vcpu in enumerate(ids)}
    return {**files, "/sys/devices/system/cpu/present": format_cpulist(range(len(there))) + "\n"}


def failure(desc: str, kind: str = "GenericError") -> Message:
    """Return an agent's error."""
    return {"error": {"class": kind, "desc": desc}}


async def sync(line: Line, value: object) -> None:
    """Answer a sync."""
    await line.say_raw(b"\xff" + json.dumps({"return": value}).encode() + b"\n")


def saying_first(text: bytes) -> Trick:
    """Send ``text``, then reply as usual."""

    async def trick(line: Line, _command: Message, as_usual: AsUsual) -> None:
        await line.say_raw(text)
        await as_usual()

    return trick


def late(seconds: float) -> Trick:
    """Do as usual, but later."""

    async def trick(_line: Line, _command: Message, as_usual: AsUsual) -> None:
        await asyncio.sleep(seconds)
        await as_usual()

    return trick


def dripping(text: bytes, seconds: float) -> Trick:
    """Send ``text`` one byte at a time."""

    async def trick(line: Line, _command: Message, _as_usual: AsUsual) -> None:
        for byte in text:
            await line.say_raw(bytes([byte]))
            await asyncio.sleep(seconds)

    return trick


def without_end(text: bytes) -> Trick:
    """Send ``text`` repeatedly until the client disconnects."""

    async def trick(line: Line, _command: Message, _as_usual: AsUsual) -> None:
        while True:
            await line.say_raw(text * 1000)

    return trick


def by_turns(*tricks: Trick) -> Trick:
    """Use one trick after the other, and then always the last one."""
    left = list(tricks)

    async def trick(line: Line, command: Message, as_usual: AsUsual) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(line, command, as_usual)

    return trick


async def as_ever(_line: Line, _command: Message, as_usual: AsUsual) -> None:
    """No trick at all."""
    await as_usual()
