# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's reports on CPU hotplug: the meaning of ACPI _OST codes."""

from __future__ import annotations

from typing import NamedTuple

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
FREE_IT = "see the guest's kernel log for what uses the CPU, free it there, then run the task again"
_NO_SUPPORT = (
    "repeating the request is of no use; have the guest OS offline the CPU (method agent), or disable it for the next "
    "boot (scope config)"
)
_OF_EJECTIONS = {
    _FAILURE: ("an unspecific failure", f"{_SEE_LOG} for the reason, then run the task again"),
    2: ("it does not know this notification", _NO_SUPPORT),
    0x80: ("it does not support ejecting this CPU", _NO_SUPPORT),
    0x81: ("the CPU is in use", FREE_IT),
    0x82: ("the CPU is busy", FREE_IT),
    0x83: ("something that depends on the CPU is busy", FREE_IT),
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
    statuses: dict[int, OstStatus | None] = {}
    for entry in reply if isinstance(reply, list) else []:
        slot = cpu_slot(entry)
        if slot is not None:
            # Slots without a report read 0/0, which is no device check.
            statuses[slot] = read_ost(entry.get("source"), entry.get("status"))
    return statuses


def cpu_slot(info: object) -> int | None:
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
