# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pauses between the attempts to connect, and between observations."""

from __future__ import annotations

import asyncio

# How long one reply may take, in seconds.
REPLY_SECONDS = 10.0

_SHORTEST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0
# A guest that sends events without end does not cause more observations than this.
_SHORTEST_INTERVAL = 0.1


class BackOff:
    """Pauses between attempts to connect, each twice as long as the one before, up to 10 seconds."""

    def __init__(self) -> None:
        self._seconds = _SHORTEST_PAUSE

    def reset(self) -> None:
        """The attempt succeeded."""
        self._seconds = _SHORTEST_PAUSE

    async def pause(self) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(self._seconds)
        self._seconds = min(2 * self._seconds, _LONGEST_PAUSE)


class Alarm:
    """Waits for a hint that something has changed."""

    def __init__(self) -> None:
        self._hint = asyncio.Event()

    def ring(self) -> None:
        """End the present or the next wait."""
        self._hint.set()

    async def wait(self, seconds: float) -> None:
        """Wait until ``ring``, at most ``seconds``, and a little in any case."""
        await asyncio.sleep(min(_SHORTEST_INTERVAL, seconds))
        waiting = asyncio.ensure_future(self._hint.wait())
        try:
            await asyncio.wait([waiting], timeout=max(0.0, seconds - _SHORTEST_INTERVAL))
        finally:
            waiting.cancel()
        self._hint.clear()


class Schedule:
    """When statistics are due: every ``seconds``, never if None."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._due = 0.0

    def is_due(self, now: float) -> bool:
        """Return whether they are due now, and if so, plan the next time."""
        if self._seconds is None or now < self._due:
            return False
        self._due = now + self._seconds
        return True

    def until_due(self, now: float, most: float) -> float:
        """Return the seconds until they are due, at most ``most``."""
        return most if self._seconds is None else max(0.0, min(most, self._due - now))
