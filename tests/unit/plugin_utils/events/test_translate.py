# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""QEMU's events and libvirt's as events of the event source."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.libvirt_events import (
    of_agent,
    of_lifecycle,
    of_monitor,
)
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.translate import of_qemu

# What a playbook would evaluate.
TEMPLATE = "{{ lookup('pipe', 'id') }}"


def ost(source: object, status: object, **info: object) -> tuple[str, dict[str, Any]]:
    details = {"slot-type": "CPU", "slot": "2", "device": "c1", "source": source, "status": status, **info}
    return "ACPI_DEVICE_OST", {"info": details}


@pytest.mark.parametrize(
    ("name", "data", "kind", "details"),
    [
        ("RESET", {"guest": True, "reason": "guest-reset"}, "reset", {"reason": "guest-reset"}),
        ("RESET", {}, "reset", {}),
        ("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}, "stopped", {"reason": "guest-shutdown"}),
        ("DEVICE_UNPLUG_GUEST_ERROR", {"device": "core1", "path": "/x"}, "unplug_refused", {}),
        ("VSERPORT_CHANGE", {"id": "agent0", "open": True}, "agent_connected", {}),
        ("VSERPORT_CHANGE", {"id": "agent0", "open": False}, "agent_disconnected", {}),
    ],
)
def test_an_event_of_qemu_has_one_kind(name: str, data: dict[str, Any], kind: str, details: dict[str, str]) -> None:
    found = of_qemu(name, data)
    assert found is not None
    assert found.kind == kind
    assert found.details == details


def test_a_refusal_names_the_vcpu_and_the_reason() -> None:
    found = of_qemu(*ost(3, 0x82))
    assert found is not None
    assert found.kind == "unplug_refused"
    assert found.details["vcpus"] == "2"
    assert "busy" in found.details["reason"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (None, {}),
        (1, {}),
        (["RESET"], {}),
        ("DEVICE_UNPLUG_GUEST_ERROR", {"path": "/x"}),
        ("ACPI_DEVICE_OST", {"info": []}),
        ("ACPI_DEVICE_OST", None),
        ("VSERPORT_CHANGE", {"id": "agent0", "open": "yes"}),
        ("VSERPORT_CHANGE", {"id": 1, "open": True}),
        ost(3, 0x84),
        ost(3, 0),
        ost(1, 0),
        ost("3", 0x82),
        ost(3, 0x82, **{"slot-type": "DIMM"}),
        ost(3, 0x82, slot=TEMPLATE),
    ],
    ids=str,
)
def test_what_is_of_no_interest_or_malformed_is_no_event(name: object, data: object) -> None:
    assert of_qemu(name, data) is None


@pytest.mark.parametrize("reason", [TEMPLATE, "a" * 1000, "\x1b[2J", "two\nlines", 7, ["a"]], ids=repr)
def test_text_of_a_peer_is_passed_on_only_if_it_is_a_name(reason: object) -> None:
    found = of_qemu("RESET", {"reason": reason})
    assert found is not None
    assert found.details == {}


@pytest.mark.parametrize(
    ("event", "detail", "expected"),
    [
        (2, 0, ("started", {"reason": "booted"})),
        (2, 2, ("started", {"reason": "restored"})),
        (2, 99, ("started", {})),
        (2, 1, ("arrives", {})),
        (4, 1, ("migrated", {"direction": "in"})),
        (5, 0, ("stopped", {"reason": "shutdown"})),
        (5, 3, ("migrated", {"direction": "out"})),
        (4, 0, None),
        (3, 0, None),
        (0, 0, None),
    ],
)
def test_a_lifecycle_event_of_libvirt_has_one_kind(event: int, detail: int, expected: object) -> None:
    assert of_lifecycle(event, detail) == expected


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [(1, 2, "agent_connected"), (2, 2, "agent_disconnected"), (2, 1, None), (9, 2, None)],
)
def test_the_state_of_an_agent_is_an_event_unless_the_domain_has_just_started(
    state: int, reason: int, expected: str | None
) -> None:
    assert of_agent(state, reason) == expected


def test_events_of_the_monitor_through_libvirt_are_those_of_qemu() -> None:
    name, data = ost(3, 0x82)
    found = of_monitor(name, json.dumps(data))
    assert found is not None
    assert found[0] == "unplug_refused"
    assert found[1]["vcpus"] == "2"


def test_an_event_of_the_monitor_that_is_no_refusal_is_a_hint() -> None:
    name, data = ost(3, 0)
    assert of_monitor(name, json.dumps(data)) == (None, {})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RESET", "{}"),
        ("ACPI_DEVICE_OST", None),
        ("ACPI_DEVICE_OST", ""),
        ("ACPI_DEVICE_OST", "["),
        ("ACPI_DEVICE_OST", "[]"),
        ("ACPI_DEVICE_OST", "[" * 4000),
        ("ACPI_DEVICE_OST", '{"info": "' + "x" * 5000 + '"}'),
    ],
    ids=lambda value: str(value)[:20],
)
def test_other_malformed_and_long_events_of_the_monitor_are_ignored(name: str, text: str | None) -> None:
    assert of_monitor(name, text) is None
