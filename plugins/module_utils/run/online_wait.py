# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait after a plug until the guest OS runs on the plugged vCPUs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import AGENT_ERROR, PLUG_UNACKNOWLEDGED
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, PENDING, StepOutcome

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent, SetResult
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Entry

# A guest with the udev rule onlines new CPUs within a tenth of a second.
TICK_SECONDS = 0.2


class OnlineWait:
    """Waits until the guest OS has detected the steps' vCPUs, and onlines those that it has not onlined itself.

    ``plugged`` are all vCPUs that are plugged now.
    """

    def __init__(self, agent: Agent, entries: Sequence[Entry], plugged: Collection[int]) -> None:
        self._agent = agent
        self._waiting = list(entries)
        self._plugged = frozenset(plugged)

    async def finish(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds, and record the outcome in each entry.

        Raises the ``HotplugError`` of the agent; entries without an outcome by then stay unchanged.
        """
        for entry in self._waiting:
            entry.start()
        deadline = time.monotonic() + timeout
        while True:
            await self._advance()
            left = deadline - time.monotonic()
            if not self._waiting or left <= 0:
                break
            await asyncio.sleep(min(TICK_SECONDS, left))
        for entry in self._waiting:
            detail = f"the guest OS has not detected the vCPU within {timeout:g} s: see the guest's kernel log"
            entry.end(StepOutcome(PENDING, took_effect=entry.took_effect, detail=detail, code=PLUG_UNACKNOWLEDGED))

    async def _advance(self) -> None:
        """End the entries whose vCPUs are online, and request that the others are onlined."""
        seen = (await self._agent.observe(self._plugged)).vcpus
        offline: dict[int, bool] = {}
        for entry in list(self._waiting):
            members = entry.step.vcpus
            if not seen.keys() >= set(members):
                continue
            rest = [vcpu for vcpu in members if not seen[vcpu].online]
            offline.update(dict.fromkeys(rest, True))
            if not rest:
                self._settle(entry, StepOutcome(DONE, took_effect=entry.took_effect))
        if offline:
            self._judge(await self._agent.set_online(offline), frozenset(offline))

    def _judge(self, result: SetResult, asked: frozenset[int]) -> None:
        """Record which entries the request has onlined, and at which it stopped; the next view shows the others."""
        for entry in list(self._waiting):
            members = asked.intersection(entry.step.vcpus)
            if members.intersection(result.processed):
                entry.took_effect = True
            if result.stopped_at in members:
                detail = f"it is plugged, but vCPU {result.stopped_at} is not online in the guest: {result.reason}"
                self._settle(
                    entry,
                    StepOutcome(FAILED, took_effect=entry.took_effect, detail=detail, code=result.code or AGENT_ERROR),
                )

    def _settle(self, entry: Entry, answer: StepOutcome) -> None:
        entry.end(answer)
        self._waiting.remove(entry)
