# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch the guest at one QMP socket: its events, and when the connection to it begins and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, Callable

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.monitor import Monitor
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, MissingLibrary
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.translate import of_qemu

TIMEOUT_SECONDS = 10.0
# How often QEMU is queried, because only a command finds that a connection was lost.
CHECK_SECONDS = 5.0
SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
# The events of one guest that wait for ansible-rulebook; further ones are counted, and the count is reported.
MOST_WAITING = 100

Report = Callable[[dict[str, Any]], Awaitable[None]]


class QmpWatch:
    """Reports the events of the guest at ``address`` until it is cancelled."""

    def __init__(self, address: str, report: Report, check_seconds: float = CHECK_SECONDS) -> None:
        self._address = address
        self._report = report
        self._check_seconds = check_seconds
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MOST_WAITING)
        self._dropped = 0

    async def run(self) -> None:
        """Connect again and again; raises ``MissingLibrary``."""
        reporter = asyncio.ensure_future(self._report_all())
        try:
            await self._connect_forever()
        finally:
            reporter.cancel()

    async def _connect_forever(self) -> None:
        pause, reported = SHORTEST_PAUSE, ""
        while True:
            monitor = Monitor(self._address, TIMEOUT_SECONDS)
            monitor.on_event(self._receive)
            try:
                await monitor.connect()
                pause, reported = SHORTEST_PAUSE, ""
                self._put({"event": "connected"})
                await self._until_lost(monitor)
            except MissingLibrary:
                raise
            except HotplugError as error:
                # A guest that stays away is reported once, not at each attempt.
                if error.code != reported:
                    self._put({"event": "lost", "code": error.code, "msg": error.msg})
                    reported = error.code
            finally:
                await monitor.close()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _until_lost(self, monitor: Monitor) -> None:
        while True:
            await monitor.execute("query-status")
            await asyncio.sleep(self._check_seconds)

    def _receive(self, event: Mapping[str, Any]) -> None:
        found = of_qemu(event)
        if found is not None:
            self._put(found)

    def _put(self, event: dict[str, Any]) -> None:
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self._dropped += 1

    async def _report_all(self) -> None:
        while True:
            event = await self._waiting.get()
            dropped, self._dropped = self._dropped, 0
            await self._report({**event, "dropped": dropped} if dropped else event)
