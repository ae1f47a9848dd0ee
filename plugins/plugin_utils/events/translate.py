# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's events as events of this collection: one word per event, and only bounded, printable values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.acpi import (
    BUSY,
    FAILED,
    REJECTED,
    cpu_slot,
    read_ost,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

# Events without details that matter.
_PLAIN = {"RESET": "reset", "SHUTDOWN": "stopped", "STOP": "paused", "RESUME": "resumed"}


def of_qemu(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return ``event`` and the values that matter of a QMP event; None for one that is of no interest or malformed."""
    name, data = event.get("event"), event.get("data")
    details = data if isinstance(data, Mapping) else {}
    if not isinstance(name, str):
        return None
    if name in _PLAIN:
        reason = details.get("reason")
        return {"event": _PLAIN[name], **({"reason": printable(reason)} if isinstance(reason, str) else {})}
    if name == "DEVICE_DELETED":
        # An event without the id follows for the device's children.
        return {"event": "device_removed", "device": printable(details["device"])} if details.get("device") else None
    if name == "DEVICE_UNPLUG_GUEST_ERROR":
        return {"event": "unplug_refused", "device": printable(details.get("device", ""))}
    if name == "ACPI_DEVICE_OST":
        return _of_acknowledgement(details.get("info"))
    if name == "VSERPORT_CHANGE":
        return _of_port(details)
    if name == "MIGRATION" and details.get("status") == "completed":
        return {"event": "migrated"}
    return None


def _of_acknowledgement(info: object) -> dict[str, Any] | None:
    if not isinstance(info, Mapping) or cpu_slot(info) is None:
        return None
    status = read_ost(info.get("source"), info.get("status"))
    if status is None or status.kind not in (BUSY, FAILED, REJECTED):
        return None
    return {"event": "unplug_refused", "device": printable(info.get("device", "")), "reason": printable(status.detail)}


def _of_port(details: Mapping[str, Any]) -> dict[str, Any]:
    state = "connected" if details.get("open") is True else "disconnected"
    return {"event": f"port_{state}", "port": printable(details.get("id", ""))}
