# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's reports on CPU hotplug in QEMU's events, kept as the latest status of each slot."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.acpi import (
    BUSY,
    FREE_IT,
    OstStatus,
    cpu_slot,
    read_ost,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.timeouts import within


class OstTracker:
    """The latest status of each slot since the last request for it; a status also ends a wait.

    Holds one status per slot, whatever the peer sends. ``deleted`` are the slots whose device QEMU has reported as
    deleted since then. ``resets`` counts how often the guest was reset.
    """

    def __init__(self) -> None:
        self._slot_of_device: dict[str, int] = {}
        self._slots: frozenset[int] = frozenset()
        self._statuses: dict[int, OstStatus] = {}
        self.deleted: set[int] = set()
        self._woken = asyncio.Event()
        self.resets = 0

    def expect(self, slots: frozenset[int], slot_of_device: Mapping[str, int]) -> None:
        """Set the existing slots, and the ids and QOM paths by which events name their devices."""
        self._slots = slots
        self._slot_of_device = dict(slot_of_device)

    def process(self, event: Mapping[str, Any]) -> None:
        """Process one QMP event."""
        name, data = event.get("event"), event.get("data")
        if not isinstance(data, dict):
            return
        if name == "ACPI_DEVICE_OST":
            info = data.get("info")
            if isinstance(info, dict):
                self.note(cpu_slot(info), read_ost(info.get("source"), info.get("status")))
        elif name == "DEVICE_UNPLUG_GUEST_ERROR":
            # pseries: the only report of a refusal, without a reason.
            self.note(self._slot_named(data), OstStatus(BUSY, f"it reported an error; {FREE_IT}"))
        elif name == "DEVICE_DELETED":
            # It may name only a part of the vCPU (its lapic): a reason to query the slots, not a status of the slot.
            slot = self._slot_named(data)
            if slot is not None:
                self.deleted.add(slot)
            self.wake()
        elif name == "RESET":
            self.resets += 1
            self.wake()

    def wake(self) -> None:
        """End the wait, so that the slots are queried again."""
        self._woken.set()

    def note(self, slot: int | None, status: OstStatus | None) -> None:
        """Set the latest status of ``slot``."""
        if slot is not None and slot in self._slots and status is not None:
            self._statuses[slot] = status
            self._woken.set()

    def clear(self, slot: int) -> None:
        """Discard the status of a slot, before a new request for it."""
        self._statuses.pop(slot, None)
        self.deleted.discard(slot)

    def status(self, slot: int) -> OstStatus | None:
        return self._statuses.get(slot)

    async def wait(self, seconds: float) -> bool:
        """Return True at the next status or deletion, False after ``seconds`` without any."""
        try:
            await within(seconds, self._woken.wait())
        except asyncio.TimeoutError:
            return False
        # Cleared only after a wait: a report in between ends the next wait.
        self._woken.clear()
        return True

    def _slot_named(self, data: Mapping[str, Any]) -> int | None:
        for name in (data.get("device"), data.get("path")):
            if isinstance(name, str) and name in self._slot_of_device:
                return self._slot_of_device[name]
        return None
