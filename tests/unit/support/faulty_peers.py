# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Peers that do not behave: conversations of their own, and tricks that a conversation plays with one command."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from .peer import AsUsual, Line, Message, Talk, Trick

FLOOD_EVENT = b'{"event": "RTC_CHANGE", "data": {"offset": 1}, "timestamp": {"seconds": 1, "microseconds": 1}}\r\n'


def nested(depth: int, inner: str = "0") -> str:
    """Return the text of objects in one another."""
    return '{"a":' * depth + inner + "}" * depth


# Indented by its depth, the list in the middle is a thousand times as long as it is here.
LONG_AND_DEEP = nested(900, "[" + ",".join("0" * 30_000) + "]")
# JSON that takes far more to parse or to format than its length suggests.
EXPENSIVE = {
    "long and deep": LONG_AND_DEEP,
    "deep": nested(100_000),
    "deep in brackets": "[" * 100_000,
    "deep between strings": '{"a}}}}":' * 20_000 + "0" + "}" * 20_000,
    "unprintable": json.dumps(["\x9b" * 400] * 400),
    "a long number": "9" * 500_000,
    "many lists": "[" + "[]," * 200_000 + "[]]",
}


async def says_nothing(line: Line) -> None:
    """A monitor that serves another client."""
    await line.wait()


async def closes_at_once(line: Line) -> None:
    """One that accepts and goes."""


def says(text: bytes) -> Talk:
    """A peer that sends ``text`` instead of a greeting, and waits."""

    async def talk(line: Line) -> None:
        await line.say_raw(text)
        await line.wait()

    return talk


def says_without_end(text: bytes) -> Talk:
    """A peer that sends ``text`` instead of a greeting, repeatedly."""

    async def talk(line: Line) -> None:
        while True:
            await line.say_raw(text * 1000)

    return talk


def instead(reply: Any) -> Trick:
    """Answer with ``reply`` as the value returned."""
    return answering({"return": reply})


def answering(message: Message) -> Trick:
    """Answer with the whole ``message``."""

    async def trick(line: Line, command: Message, _as_usual: AsUsual) -> None:
        await line.reply(command, message)

    return trick


async def no_answer(_line: Line, _command: Message, _as_usual: AsUsual) -> None:
    """Never answer."""


async def hang_up(line: Line, _command: Message, _as_usual: AsUsual) -> None:
    """Close the connection instead of replying, after the client has read everything that was sent before."""
    await asyncio.sleep(0.1)
    await line.close()


def raw(text: bytes) -> Trick:
    """Send ``text`` instead of a reply."""

    async def trick(line: Line, _command: Message, _as_usual: AsUsual) -> None:
        await line.say_raw(text)

    return trick


def dripping(reply: Any, seconds: float) -> Trick:
    """Answer one byte at a time."""

    async def trick(line: Line, command: Message, _as_usual: AsUsual) -> None:
        for byte in json.dumps({"return": reply, "id": command["id"]}).encode() + b"\r\n":
            await line.say_raw(bytes([byte]))
            await asyncio.sleep(seconds)

    return trick


def flooding(events: int) -> Trick:
    """Send so many irrelevant events, then reply as usual."""

    async def trick(line: Line, _command: Message, as_usual: AsUsual) -> None:
        for _batch in range(events // 1000):
            await line.say_raw(FLOOD_EVENT * 1000)
        await as_usual()

    return trick


def from_number(number: int, then: Trick) -> Trick:
    """Answer as usual the first ``number - 1`` times, then play the trick ``then``."""
    count = itertools.count(1)

    async def trick(line: Line, command: Message, as_usual: AsUsual) -> None:
        await (as_usual() if next(count) < number else then(line, command, as_usual))

    return trick


async def flooding_for_ever(line: Line, _command: Message, _as_usual: AsUsual) -> None:
    """Send irrelevant events until the client disconnects."""
    while True:
        await line.say_raw(FLOOD_EVENT * 1000)
