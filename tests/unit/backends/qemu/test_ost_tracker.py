# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The latest status of each slot, by the events of QEMU, and invalid events of hostile peers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.acpi import BUSY, EJECTING
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.ost_tracker import OstTracker

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def after(*events: dict[str, Any]) -> OstTracker:
    tracker = OstTracker()
    tracker.expect(frozenset({0, 1, 2}), {"vcpu2": 2, "/machine/peripheral/vcpu2": 2})
    for event in events:
        tracker.process(event)
    return tracker


def ost(number: object, source: object = 3, status: object = 0) -> dict[str, Any]:
    info = {"slot": number, "slot-type": "CPU", "source": source, "status": status}
    return {"event": "ACPI_DEVICE_OST", "data": {"info": info}}


def test_the_latest_of_several_statuses_counts() -> None:
    status = asyncio.run(_async(lambda: after(ost("2", 3, 132), ost("2", 3, 130)).status(2)))
    assert status is not None
    assert status.kind == BUSY


def test_a_status_without_a_device_id_is_assigned_by_its_slot() -> None:
    status = asyncio.run(_async(lambda: after(ost("1", 3, 132)).status(1)))
    assert status is not None
    assert status.kind == EJECTING


@pytest.mark.parametrize(
    "data", [{"device": "vcpu2"}, {"path": "/machine/peripheral/vcpu2"}, {"device": None, "path": "vcpu2"}]
)
def test_a_guest_error_is_a_refusal_by_any_name_of_the_device(data: dict[str, Any]) -> None:
    status = asyncio.run(_async(lambda: after({"event": "DEVICE_UNPLUG_GUEST_ERROR", "data": data}).status(2)))
    assert status is not None
    assert status.kind == BUSY


def test_only_one_status_is_kept_per_existing_slot() -> None:
    tracker = asyncio.run(_async(lambda: after(*(ost(str(number)) for number in range(1000)))))
    assert [number for number in range(1000) if tracker.status(number) is not None] == [0, 1, 2]


@given(st.lists(json_values, max_size=3), st.sampled_from(["ACPI_DEVICE_OST", "DEVICE_UNPLUG_GUEST_ERROR", "X"]))
def test_any_event_is_handled(values: list[Any], name: str) -> None:
    async def run() -> None:
        for value in values:
            after({"event": name, "data": value}, {"event": name, "data": {"info": value}}, ost(value), ost("1", value))

    asyncio.run(run())


async def _async(call: Any) -> Any:
    # On Python 3.9 an asyncio.Event belongs to the loop that runs while it is made.
    return call()
