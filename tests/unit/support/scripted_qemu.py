# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A peer that simulates a QEMU with a guest, with recorded texts, for situations without a recording."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .peer import Conversation, Line, Message
from .replay import OSPM, SLOTS, Chardevs, named_devices, of_acpi_events, usually

CHARDEVS = ("query-chardev", "chardev-add", "chardev-remove")

# What a guest does when it shall give up a vCPU (the first of its entity).
GOES = "goes"
REFUSES = "refuses"
REFUSES_FOR_GOOD = "refuses for good"
BOOTS = "boots"  # fails at the first asking, and goes at the next
WORKS_ON = "works on"
SAYS_NOTHING = "says nothing"
# What a guest, or QEMU, does when it shall take one in.
TAKES = "takes"
FAILS = "fails"
IS_REFUSED = "is refused"


@dataclass(frozen=True)
class Hardware:
    """A machine's slots, from the lowest: how QEMU lists them, with ``vcpus-count`` and the props that plug them."""

    usual: str
    slots: tuple[Mapping[str, Any], ...]
    answers: Mapping[str, Message]
    acpi: bool = True


def _listed(message: Message) -> tuple[Mapping[str, Any], ...]:
    return tuple({key: slot[key] for key in ("type", "vcpus-count", "props")} for slot in reversed(message["return"]))


# Recorded: eight vCPUs in four sockets of two cores, on two nodes.
Q35 = Hardware("q35", _listed(usually("q35", {"execute": SLOTS})), {})

# In the shape of QEMU's documentation (qapi/machine.json, qapi/qdev.json): four cores of eight threads.
PSERIES = Hardware(
    "q35",
    tuple(
        {"type": "power9_v2.2-spapr-cpu-core", "vcpus-count": 8, "props": {"core-id": 8 * core, "node-id": 0}}
        for core in range(4)
    ),
    {
        "query-target": {"return": {"arch": "ppc64"}},
        "query-cpus-fast": {"return": []},
        OSPM: {"error": {"class": "GenericError", "desc": "command is not supported, missing ACPI device"}},
    },
    acpi=False,
)


class Imitation(Conversation):
    """A QEMU whose slots ``plugged`` are occupied, and a guest whose behaviour is configured per slot."""

    def __init__(
        self,
        plugged: Iterable[int] = (0, 1),
        hardware: Hardware = Q35,
        unplug: Mapping[int, str] | None = None,
        plug: Mapping[int, str] | None = None,
        answers: Mapping[str, Message] | None = None,
    ) -> None:
        super().__init__()
        self.paths = {slot: f"/machine/peripheral/vcpu{self._vcpu(hardware, slot)}" for slot in plugged if slot}
        self.paths[0] = "/machine/unattached/device[0]"
        self._hardware = hardware
        self._unplug = unplug or {}
        self._plug = plug or {}
        self._words: dict[int, tuple[int, int]] = {}
        self._chardevs = Chardevs()
        self.chardevs = self._chardevs.labels
        self.listens = True
        self._answers = {"query-status": {"return": {"status": "running"}}, **hardware.answers, **(answers or {})}

    @staticmethod
    def _vcpu(hardware: Hardware, slot: int) -> int:
        return sum(entry["vcpus-count"] for entry in hardware.slots[:slot])

    async def answer(self, line: Line, command: Message) -> None:
        name = command["execute"]
        if name == "device_add":
            await self._add(line, command)
        elif name == "device_del":
            await self._delete(line, command)
        elif name in CHARDEVS:
            await line.reply(command, self._chardevs.reply(command) or {})
        elif self._hardware.acpi and of_acpi_events(command, self.listens):
            await line.reply(command, of_acpi_events(command, self.listens) or {})
        elif command.get("arguments", {}).get("path") == "/machine/acpi-device":
            await line.reply(command, _error("Property 'machine.acpi-device' not found"))
        elif name in self._answers:
            await line.reply(command, self._answers[name])
        elif name == "qom-list":
            await line.reply(command, named_devices(command, {"return": self._listing()}) or {})
        elif name == SLOTS:
            await line.reply(command, {"return": self._listing()})
        elif name == OSPM:
            await line.reply(command, {"return": self._last_words()})
        else:
            await line.reply(command, usually(self._hardware.usual, command))

    def _listing(self) -> list[Message]:
        return [
            {**entry, **({"qom-path": self.paths[slot]} if slot in self.paths else {})}
            for slot, entry in reversed(list(enumerate(self._hardware.slots)))
        ]

    def _last_words(self) -> list[Message]:
        return [self._word(slot, *self._words.get(slot, (0, 0))) for slot in range(len(self._hardware.slots))]

    def _word(self, slot: int, source: int, status: int) -> Message:
        device = self.paths.get(slot, "").rpartition("/")[2]
        named = {"device": device} if device.startswith("vcpu") else {}
        return {**named, "source": source, "status": status, "slot": str(slot), "slot-type": "CPU"}

    async def _add(self, line: Line, command: Message) -> None:
        arguments = command["arguments"]
        props = {key: value for key, value in arguments.items() if key not in ("driver", "id")}
        slot = next(number for number, entry in enumerate(self._hardware.slots) if entry["props"] == props)
        manner = self._plug.get(slot, TAKES)
        if manner == IS_REFUSED:
            await line.reply(command, _error("cannot set up guest memory: Cannot allocate memory"))
            return
        self.paths[slot] = f"/machine/peripheral/{arguments['id']}"
        await line.reply(command, {"return": {}})
        if manner != SAYS_NOTHING:
            await self._report(line, slot, 1, 1 if manner == FAILS else 0)

    async def _delete(self, line: Line, command: Message) -> None:
        slot = next(number for number, path in self.paths.items() if path == command["arguments"]["id"])
        manner = self._unplug.get(slot, GOES)
        path = self.paths[slot]
        await line.reply(command, {"return": {}})
        if manner == SAYS_NOTHING:
            return
        if manner in (REFUSES_FOR_GOOD, FAILS, BOOTS):
            await self._report(line, slot, 3, 128 if manner == REFUSES_FOR_GOOD else 1)
            if manner == BOOTS:
                self._unplug = {**self._unplug, slot: GOES}
            return
        await self._report(line, slot, 3, 132)
        if manner == GOES:
            await asyncio.sleep(0.01)
            del self.paths[slot]
            await line.say({"event": "DEVICE_DELETED", "data": {"path": f"{path}/lapic"}, **STAMP})
            await self._report(line, slot, 3, 0)
        elif manner == REFUSES and self._hardware.acpi:
            await self._report(line, slot, 3, 130)
        elif manner == REFUSES:
            data = {"device": path.rpartition("/")[2], "path": path}
            await line.say({"event": "DEVICE_UNPLUG_GUEST_ERROR", "data": data, **STAMP})

    async def _report(self, line: Line, slot: int, source: int, status: int) -> None:
        if self._hardware.acpi:
            self._words[slot] = (source, status)
            info = self._word(slot, source, status)
            await line.say({"event": "ACPI_DEVICE_OST", "data": {"info": info}, **STAMP})


STAMP: Message = {"timestamp": {"seconds": 1795379348, "microseconds": 738380}}


def _error(desc: str) -> Message:
    return {"error": {"class": "GenericError", "desc": desc}}
