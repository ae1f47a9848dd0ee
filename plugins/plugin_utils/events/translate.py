# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's events as events of this collection: one word per event, and only bounded, printable values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

# Events without details that matter.
_PLAIN = {"RESET": "reset", "SHUTDOWN": "stopped", "STOP": "paused", "RESUME": "resumed"}
# _OST: the source event of an unplug, and the statuses with which a guest OS accepts it.
_EJECTION = (3, 0x103)
_ACCEPTED = (0, 0x84)


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
    if not isinstance(info, Mapping) or info.get("slot-type") != "CPU" or info.get("source") not in _EJECTION:
        return None
    status = info.get("status")
    # 0x80 to 0x8f report progress or refusal of an ejection; 0x84 is progress.
    if not isinstance(status, int) or status in _ACCEPTED:
        return None
    return {"event": "unplug_refused", "device": printable(info.get("device", "")), "status": status}


def _of_port(details: Mapping[str, Any]) -> dict[str, Any]:
    state = "connected" if details.get("open") is True else "disconnected"
    return {"event": f"port_{state}", "port": printable(details.get("id", ""))}
