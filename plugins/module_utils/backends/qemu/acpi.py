# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's reports on CPU hotplug: ACPI _OST codes and unplug events, kept as the latest status of each slot."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

# Machines whose guests acknowledge a plug and an unplug with _OST, by QEMU's names and libvirt's; the others report
# only refusals.
ARCHITECTURES = ("x86_64", "i386", "i686", "loongarch64")

INSERTED = "inserted"
NOT_INSERTED = "not inserted"
EJECTING = "ejecting"
EJECTED = "ejected"
BUSY = "busy"
FAILED = "failed"
REJECTED = "rejected"

# ACPI 6.5, section 6.3.5: the event that a _OST acknowledges, and the status codes of ejection requests.
_DEVICE_CHECK = 1
_EJECT_REQUEST = 3
_EJECT_BY_OSPM = 0x103
_SUCCESS = 0
_FAILURE = 1
_IN_PROGRESS = 0x84
_INSERTION_IN_PROGRESS = 0x80
_RETRYABLE = (0x81, 0x82, 0x83)  # device in use, device busy, ejection dependency busy

# The meaning of a status, and the remedy.
_SEE_LOG = "see the guest's kernel log"
_FREE_IT = "see the guest's kernel log for what uses the CPU, free it there, then run the task again"
_NO_SUPPORT = (
    "repeating the request is of no use; have the guest OS offline the CPU (method agent), or disable it for the next "
    "boot (scope config)"
)
_OF_EJECTIONS = {
    _FAILURE: ("an unspecific failure", f"{_SEE_LOG} for the reason, then run the task again"),
    2: ("it does not know this notification", _NO_SUPPORT),
    0x80: ("it does not support ejecting this CPU", _NO_SUPPORT),
    0x81: ("the CPU is in use", _FREE_IT),
    0x82: ("the CPU is busy", _FREE_IT),
    0x83: ("something that depends on the CPU is busy", _FREE_IT),
}
_OF_INSERTIONS = {
    _FAILURE: ("an unspecific failure", _SEE_LOG),
    2: ("that it does not know this notification", _SEE_LOG),
    0x81: ("that the CPU's driver failed to load", _SEE_LOG),
    0x82: (
        "that it does not support inserting this CPU",
        "unplug it again, or enable it at the next boot (scope config)",
    ),
}


class OstStatus(NamedTuple):
    """The report of a guest on a slot: one of this file's constants; ``detail`` is its own code and the remedy."""

    kind: str
    detail: str = ""


def read_ost(source: object, status: object) -> OstStatus | None:
    """Return the meaning of a _OST of this source and status, or None if it is not about CPU hotplug."""
    if not isinstance(source, int) or not isinstance(status, int):
        return None
    if source == _DEVICE_CHECK:
        if status == _INSERTION_IN_PROGRESS:
            return None
        return OstStatus(INSERTED) if status == _SUCCESS else OstStatus(NOT_INSERTED, _description(source, status))
    if source in (_EJECT_REQUEST, _EJECT_BY_OSPM):
        if status == _SUCCESS:
            return OstStatus(EJECTED)
        if status == _IN_PROGRESS:
            return OstStatus(EJECTING)
        if status in _RETRYABLE:
            return OstStatus(BUSY, _description(source, status))
        return OstStatus(FAILED if status == _FAILURE else REJECTED, _description(source, status))
    return None


def read_ospm_status(reply: object) -> dict[int, OstStatus | None]:
    """Return the latest status of each CPU slot, from query-acpi-ospm-status; empty before the guest's ACPI is up."""
    words: dict[int, OstStatus | None] = {}
    for entry in reply if isinstance(reply, list) else []:
        slot = _cpu_slot(entry)
        if slot is not None:
            # Slots without a report read 0/0, which is no device check.
            words[slot] = read_ost(entry.get("source"), entry.get("status"))
    return words


def _cpu_slot(info: object) -> int | None:
    """The slot of an ACPIOSTInfo, None if it is not that of a CPU."""
    if not isinstance(info, dict) or info.get("slot-type") != "CPU":
        return None
    slot = info.get("slot")
    return int(slot) if isinstance(slot, str) and slot.isascii() and slot.isdecimal() and len(slot) < 10 else None


def _description(source: int, status: int) -> str:
    code = f"_OST {source}/{status}"
    meanings = _OF_INSERTIONS if source == _DEVICE_CHECK else _OF_EJECTIONS
    known, remedy = meanings.get(status, ("", _SEE_LOG))
    return f"{known} ({code}); {remedy}" if known else f"{code}; {remedy}"


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

    def hear(self, event: Mapping[str, Any]) -> None:
        """Process one QMP event."""
        name, data = event.get("event"), event.get("data")
        if not isinstance(data, dict):
            return
        if name == "ACPI_DEVICE_OST":
            info = data.get("info")
            if isinstance(info, dict):
                self.note(_cpu_slot(info), read_ost(info.get("source"), info.get("status")))
        elif name == "DEVICE_UNPLUG_GUEST_ERROR":
            # pseries: the only report of a refusal, without a reason.
            self.note(self._slot_named(data), OstStatus(BUSY, f"it reported an error; {_FREE_IT}"))
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

    def note(self, slot: int | None, word: OstStatus | None) -> None:
        """Set the latest status of ``slot``."""
        if slot is not None and slot in self._slots and word is not None:
            self._statuses[slot] = word
            self._woken.set()

    def clear(self, slot: int) -> None:
        """Discard the status of a slot, before a new request for it."""
        self._statuses.pop(slot, None)
        self.deleted.discard(slot)

    def word(self, slot: int) -> OstStatus | None:
        return self._statuses.get(slot)

    async def wait(self, seconds: float) -> bool:
        """Return True at the next status or deletion, False after ``seconds`` without any."""
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
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
