# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of one guest that wait for the rule engine, which takes one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

MOST_WAITING = 100


class Outbox:
    """Passes the events of one guest to ``queue``; ``common`` is a part of each of them.

    If the rule engine does not take them, at most ``MOST_WAITING`` are kept. Further ones are dropped, and the next
    event has their number as ``dropped``.
    """

    def __init__(self, queue: asyncio.Queue[Any], common: Mapping[str, Any]) -> None:
        self._queue = queue
        self._common = common
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MOST_WAITING)
        self._passing = False
        self._dropped = 0

    def post(self, kind: str, details: Mapping[str, Any]) -> None:
        """Add an event."""
        try:
            self._waiting.put_nowait({"kind": kind, **details})
        except asyncio.QueueFull:
            self._dropped += 1

    def post_if_idle(self, kind: str, details: Mapping[str, Any]) -> None:
        """Add an event, unless earlier ones have not been taken yet: it would be outdated when it is taken."""
        if self._waiting.empty() and not self._passing:
            self.post(kind, details)

    async def run(self) -> None:
        """Pass events until cancelled."""
        while True:
            event = await self._waiting.get()
            self._passing = True
            dropped, self._dropped = self._dropped, 0
            await self._queue.put({**event, **self._common, **({"dropped": dropped} if dropped else {})})
            self._passing = False
