# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""QEMU's events as events of the event source."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.translate import of_qemu


def ost(source: object, status: object, **info: object) -> dict[str, Any]:
    details = {"slot-type": "CPU", "slot": "2", "device": "c1", "source": source, "status": status, **info}
    return {"event": "ACPI_DEVICE_OST", "data": {"info": details}}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"event": "RESET", "data": {"guest": True, "reason": "guest-reset"}}, "reset"),
        ({"event": "SHUTDOWN", "data": {}}, "stopped"),
        ({"event": "DEVICE_DELETED", "data": {"device": "c1", "path": "/x"}}, "device_removed"),
        ({"event": "DEVICE_UNPLUG_GUEST_ERROR", "data": {"device": "c1"}}, "unplug_refused"),
        (ost(3, 0x82), "unplug_refused"),
        ({"event": "MIGRATION", "data": {"status": "completed"}}, "migrated"),
    ],
)
def test_an_event_has_one_word(event: dict[str, Any], expected: str) -> None:
    found = of_qemu(event)
    assert found is not None
    assert found["event"] == expected


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"event": 1},
        {"event": ["RESET"]},
        {"event": "DEVICE_DELETED", "data": {"path": "/x"}},
        {"event": "ACPI_DEVICE_OST", "data": {"info": []}},
        {"event": "MIGRATION", "data": {"status": "active"}},
        ost(3, 0x84),
        ost(3, 0),
        ost(1, 0),
        ost("3", 0x82),
        ost(3, 0x82, **{"slot-type": "DIMM"}),
    ],
    ids=str,
)
def test_what_is_of_no_interest_or_malformed_is_no_event(event: dict[str, Any]) -> None:
    assert of_qemu(event) is None


def test_values_of_a_peer_are_bounded_and_printable() -> None:
    found = of_qemu({"event": "DEVICE_DELETED", "data": {"device": "\x1b[2J" + "x" * 100_000}})
    assert found is not None
    assert found["device"].isprintable()
    assert len(found["device"]) <= 200
