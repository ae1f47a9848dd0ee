# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A peer that replays the recorded messages of a real QEMU and a real guest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist

from .peer import Conversation, Line, Message, Unscripted

HERE = Path(__file__).parent
RECORDINGS = HERE / "recordings"
# Every situation was recorded with this QEMU, some with older ones, too.
RECORDED_WITH = "10.0"

SLOTS = "query-hotpluggable-cpus"
OSPM = "query-acpi-ospm-status"
LOOKS = (SLOTS, OSPM, "query-status")
MOVES = ("device_add", "device_del", "stop", "cont")

# What an idle QEMU replies to commands the recordings lack: recorded with `-S -name web1 -uuid ...`, their -smp and
# -numa, and with `-M microvm -smp 1,maxcpus=4`.
USUAL: Mapping[str, Any] = json.loads((HERE / f"answers-{RECORDED_WITH}.json").read_text())


class Chardevs:
    """The character devices of a QEMU by their labels, and what 10.0 replies to the commands about them."""

    def __init__(self) -> None:
        self.labels = ["compat_monitor0"]

    def reply(self, command: Message) -> Message | None:
        """Carry out a command; None for any other."""
        name = command["execute"]
        if name == "query-chardev":
            return {"return": [{"frontend-open": False, "filename": "null", "label": one} for one in self.labels]}
        if name not in ("chardev-add", "chardev-remove"):
            return None
        label, adds = command["arguments"]["id"], name == "chardev-add"
        if (label in self.labels) is adds:
            desc = f"Chardev with id '{label}' already exists" if adds else f"Chardev '{label}' not found"
            return {"error": {"class": "GenericError", "desc": desc}}
        (self.labels.append if adds else self.labels.remove)(label)
        return {"return": {}}


@dataclass
class Moment:
    """The recording after one command, or before the first: its reply, events, and queries of the slots."""

    move: Message | None = None
    reply: Message | None = None
    # Seconds after the move, and what was said: an event, or the reply to a look.
    said: list[tuple[float, str, Message]] = field(default_factory=list)

    @property
    def events(self) -> list[Message]:
        return [message for _seconds, look, message in self.said if not look]

    def looked(self, look: str) -> list[tuple[int, Message]]:
        """The replies to the query ``look``, each with the number of events before it."""
        found: list[tuple[int, Message]] = []
        events = 0
        for _seconds, question, message in self.said:
            events += not question
            if question == look:
                found.append((events, message))
        return found


def versions(name: str) -> list[str]:
    """The versions of QEMU that a situation was recorded with."""
    return sorted(path.stem[len(name) + 1 :] for path in RECORDINGS.glob(f"{name}-[0-9]*.jsonl"))


def moments(name: str, version: str = RECORDED_WITH, without: str = "") -> list[Moment]:
    """Return the recorded trace ``name``, but for the moves ``without``."""
    told = [Moment()]
    asked: dict[str, Moment | str] = {}
    began = 0.0
    for entry in map(json.loads, (RECORDINGS / f"{name}-{version}.jsonl").read_text().splitlines()):
        message = entry["msg"]
        if entry["dir"] == ">":
            command = message["execute"]
            if command in MOVES and command != without:
                began = entry["t"]
                told.append(Moment(move=message))
                asked[message["id"]] = told[-1]
            elif command in LOOKS:
                asked[message["id"]] = command
            continue
        source = asked.get(message.get("id"))
        answer = {key: value for key, value in message.items() if key != "id"}
        if isinstance(source, Moment):
            source.reply = answer
        elif isinstance(source, str):
            told[-1].said.append((entry["t"] - began, source, answer))
        elif "event" in message:
            told[-1].said.append((entry["t"] - began, "", answer))
    return told


class Replay(Conversation):
    """One conversation after a recording.

    ``past`` says how many moves lie behind when the client comes, -1 for all. ``again`` lets the client
    repeat the last move, with the same outcome. ``pace`` is the share of the recorded time that passes.
    """

    def __init__(
        self,
        name: str,
        version: str = RECORDED_WITH,
        past: int = 0,
        again: bool = False,
        without: str = "",
        pace: float = 0.2,
        usual: str = "q35",
    ) -> None:
        super().__init__()
        self._told = moments(name, version, without)
        self._at = len(self._told) - 1 if past < 0 else past
        self._events = len(self._told[self._at].events) if past else 0
        self._again = again
        self._pace = pace
        self._usual = usual
        self._asked: set[str] = set()
        self._question: asyncio.Event | None = None
        self._player: asyncio.Task[None] | None = None
        self._chardevs = Chardevs()

    @property
    def before(self) -> str:
        """The vCPUs that were enabled before the first move, as a cpulist."""
        first = self._told[0].looked(SLOTS)
        return _enabled(first[0][1] if first else self._before_the_first(SLOTS))

    @property
    def after(self) -> str:
        """Those that were enabled when the recording ended."""
        looks = [message for moment in self._told for _events, message in moment.looked(SLOTS)]
        return _enabled(looks[-1])

    @property
    def moved(self) -> str:
        """The vCPUs that the moves were about."""
        moves = [moment.move for moment in self._told if moment.move is not None and "arguments" in moment.move]
        return format_cpulist(self._vcpu(move) for move in moves)

    def _vcpu(self, move: Message) -> int:
        """The vCPU of a move: its slot, counted from the lowest."""
        listing = list(reversed((self._first(SLOTS, self._told) or {})["return"]))
        arguments = move.get("arguments", {})
        device = arguments.get("id", "")
        for vcpu, slot in enumerate(listing):
            if move["execute"] == "device_add" and slot["props"].items() <= arguments.items():
                return vcpu
            if slot.get("qom-path", "").rpartition("/")[2] == device.rpartition("/")[2]:
                return vcpu
        return int(device[len("vcpu") :])

    async def begin(self, line: Line) -> None:
        self._question = asyncio.Event()
        if not self._at:
            self._play(line)

    async def end(self) -> None:
        if self._player is not None:
            self._player.cancel()
            await asyncio.gather(self._player, return_exceptions=True)

    async def answer(self, line: Line, command: Message) -> None:
        name = command["execute"]
        if name in MOVES:
            await self._move(line, command)
            return
        self._asked.add(name)
        if self._question is not None:
            self._question.set()
        listens = bool((self._in_force(OSPM) or {}).get("return", True))
        beside = of_acpi_events(command, listens) or self._chardevs.reply(command)
        beside = beside or named_devices(command, self._in_force(SLOTS))
        await line.reply(command, beside or self._in_force(name) or self._usually(command))

    async def _move(self, line: Line, command: Message) -> None:
        if self._at + 1 < len(self._told):
            self._at += 1
        elif not self._again:
            raise Unscripted(command)
        moment = self._told[self._at]
        if moment.move is None or moment.reply is None or not self._is_same(moment.move, command):
            raise Unscripted(command, moment.move)
        await self.end()
        self._asked.clear()
        await line.reply(command, moment.reply)
        self._play(line)

    def _play(self, line: Line) -> None:
        self._events = 0
        self._player = asyncio.ensure_future(self._tell(line, self._told[self._at]))

    async def _tell(self, line: Line, moment: Moment) -> None:
        """Send the events at their times; one that was recorded after a query is sent only after the client's query."""
        now = 0.0
        for seconds, look, message in moment.said:
            if look:
                await self._until_asked(look)
            else:
                await asyncio.sleep(max(0.0, seconds - now) * self._pace)
                now = seconds
                self._events += 1
                await line.say(message)

    async def _until_asked(self, look: str) -> None:
        while self._question is not None and look not in self._asked:
            self._question.clear()
            await self._question.wait()

    def _in_force(self, look: str) -> Message | None:
        """The reply to ``look`` that held at this moment: the last one recorded up to here."""
        if look == SLOTS and self._has_just_plugged():
            return self._first(look, self._told[self._at :])
        for number in range(self._at, -1, -1):
            for events, message in reversed(self._told[number].looked(look)):
                if number < self._at or events <= self._events:
                    return message
        return self._before_the_first(look)

    def _has_just_plugged(self) -> bool:
        moment = self._told[self._at]
        return moment.move is not None and moment.move["execute"] == "device_add" and "return" in (moment.reply or {})

    def _before_the_first(self, look: str) -> Message | None:
        """The first reply recorded, with what the moves before it took away put back."""
        message = self._first(look, self._told)
        if message is None or "return" not in message or look not in (SLOTS, OSPM):
            return message
        entries = [dict(entry) for entry in message["return"]]
        for moment in self._told[1:]:
            if moment.looked(look) and moment.looked(look)[0][1] is message:
                self._undo(moment, look, entries)
                break
            self._undo(moment, look, entries)
        return {"return": entries}

    def _undo(self, moment: Moment, look: str, entries: list[dict[str, Any]]) -> None:
        device = (moment.move or {}).get("arguments", {}).get("id", "")
        if (moment.move or {}).get("execute") != "device_del" or not device.startswith("vcpu"):
            return
        vcpu = int(device[len("vcpu") :])
        if look == SLOTS:
            entries[len(entries) - 1 - vcpu]["qom-path"] = f"/machine/peripheral/{device}"
        else:
            entries[vcpu].update(device=device, source=1, status=0)

    @staticmethod
    def _first(look: str, told: Iterable[Moment]) -> Message | None:
        return next((message for moment in told for _events, message in moment.looked(look)), None)

    def _is_same(self, recorded: Message, command: Message) -> bool:
        """Whether two moves are the same, whatever the id that each names the vCPU by."""
        if recorded["execute"] != command["execute"]:
            return False
        mine, yours = recorded.get("arguments", {}), command.get("arguments", {})
        if recorded["execute"] == "device_add":
            return {**mine, "id": ""} == {**yours, "id": ""}
        return str(mine.get("id")).rpartition("/")[2] == str(yours.get("id")).rpartition("/")[2]

    def _usually(self, command: Message) -> Message:
        return usually(self._usual, command)


def _enabled(listing: Message | None) -> str:
    slots = reversed((listing or {})["return"])
    return format_cpulist(vcpu for vcpu, slot in enumerate(slots) if "qom-path" in slot)


def of_acpi_events(command: Message, listens: bool) -> Message | None:
    """Return what a q35 of QEMU 10.0 replies about the events that its guest has enabled; None to other commands."""
    arguments = command.get("arguments", {})
    if arguments.get("path") == "/machine/acpi-device":
        return {"return": {"gpe0_blk": 0x620, "gpe0_blk_len": 16}[arguments["property"]]}
    _read, found, port = arguments.get("command-line", "").partition("i /b ")
    if found:
        # GPE0_EN of the length above; the ports before it are GPE0_STS, which has no event.
        value = "0x06" if listens and int(port, 16) == 0x628 else "0x00"
        return {"return": f"portb[0x{int(port, 16):04x}] = {value}\r\n"}
    return None


def named_devices(command: Message, listing: Message | None) -> Message | None:
    """Return what QEMU lists in a folder of its devices, which are vCPUs of ``listing``; None to other commands."""
    if command["execute"] != "qom-list":
        return None
    folder = command["arguments"]["path"]
    children = [{"name": "type", "type": "string"}]
    for slot in (listing or {})["return"]:
        parent, _slash, name = slot.get("qom-path", "").rpartition("/")
        if parent == folder:
            children.append({"name": name, "type": f"child<{slot['type']}>"})
    return {"return": children}


def usually(machine: str, command: Message) -> Message:
    """Return the recorded answer of an idle QEMU."""
    answers: Sequence[Message] = USUAL[machine]["answers"]
    wanted = (command["execute"], command.get("arguments"))
    for answer in answers:
        if (answer["command"]["execute"], answer["command"].get("arguments")) == wanted:
            reply: Message = answer["reply"]
            return reply
    raise Unscripted(command)
