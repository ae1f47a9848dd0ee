# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's events, as kinds of events of this collection with bounded values.

Values become variables of playbooks, and Ansible may evaluate any text there as a template. Therefore text of a peer is
only passed on if it is one of QEMU's names, such as ``guest-reset``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.acpi import (
    BUSY,
    FAILED,
    REJECTED,
    cpu_slot,
    read_ost,
)

AGENT_CONNECTED = "agent_connected"
AGENT_DISCONNECTED = "agent_disconnected"
RESET = "reset"
STOPPED = "stopped"
UNPLUG_REFUSED = "unplug_refused"

AGENT_PORT = "org.qemu.guest_agent.0"

# After these, vCPUs or the state may have changed, or the connection is about to end.
HINTS = ("ACPI_DEVICE_OST", "DEVICE_DELETED", "RESUME", "SHUTDOWN", "STOP")

_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")


class QemuEvent(NamedTuple):
    """An event by its ``kind``; ``device`` is the id of the device that it is about, if any."""

    kind: str
    details: Mapping[str, Any]
    device: str | None = None


def of_qemu(name: object, data: object) -> QemuEvent | None:
    """Return the meaning of a QMP event; None for one that is of no interest or malformed."""
    details = data if isinstance(data, Mapping) else {}
    if name == "RESET":
        return QemuEvent(RESET, _reason(details))
    if name == "SHUTDOWN":
        return QemuEvent(STOPPED, _reason(details))
    if name == "ACPI_DEVICE_OST":
        return _of_acknowledgement(details.get("info"))
    if name == "DEVICE_UNPLUG_GUEST_ERROR":
        device = details.get("device")
        return QemuEvent(UNPLUG_REFUSED, {}, device) if isinstance(device, str) else None
    if name == "VSERPORT_CHANGE":
        port, is_open = details.get("id"), details.get("open")
        if not isinstance(port, str) or not isinstance(is_open, bool):
            return None
        return QemuEvent(AGENT_CONNECTED if is_open else AGENT_DISCONNECTED, {}, port)
    return None


def _reason(details: Mapping[str, Any]) -> dict[str, str]:
    reason = details.get("reason")
    return {"reason": reason} if isinstance(reason, str) and _NAME.fullmatch(reason) else {}


def _of_acknowledgement(info: object) -> QemuEvent | None:
    slot = cpu_slot(info)
    if slot is None or not isinstance(info, Mapping):
        return None
    status = read_ost(info.get("source"), info.get("status"))
    if status is None or status.kind not in (BUSY, FAILED, REJECTED):
        return None
    # Machines with this event number their slots as vCPUs are numbered.
    return QemuEvent(UNPLUG_REFUSED, {"vcpus": str(slot), "reason": status.detail})
