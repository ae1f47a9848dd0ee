# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The events that follow from what is observed of a guest."""

from __future__ import annotations

import asyncio
from typing import Any, Callable

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONNECTION_LOST, HotplugError
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.outbox import MOST_WAITING, Outbox
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.tracker import Tracker

LOST = HotplugError(CONNECTION_LOST, "QEMU has ended")
COMMON = {"guest": "web1", "options": {"name": "web1"}}


def events_after(*steps: Callable[[Tracker], None]) -> list[dict[str, Any]]:
    """Return the events after these steps, without what all of them contain."""
    return [{key: event[key] for key in event if key not in COMMON} for event in asyncio.run(taken(*steps))]


async def taken(*steps: Callable[[Tracker], None]) -> list[dict[str, Any]]:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    outbox = Outbox(queue, COMMON)
    tracker = Tracker("web1", outbox)
    for step in steps:
        step(tracker)
    await passed(outbox)
    return [queue.get_nowait() for _number in range(queue.qsize())]


async def passed(outbox: Outbox) -> None:
    """Have the outbox pass on all that it can at once."""
    running = asyncio.ensure_future(outbox.run())
    for _round in range(MOST_WAITING):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])


def found(qemu: object) -> Callable[[Tracker], None]:
    return lambda tracker: tracker.found(qemu)


def lost(tracker: Tracker) -> None:
    tracker.disconnected(LOST)


def ended(tracker: Tracker) -> None:
    tracker.disconnected(LOST, is_absent=True)


def observed(*vcpus: int) -> Callable[[Tracker], None]:
    return lambda tracker: tracker.observe(frozenset(vcpus))


def kinds(*steps: Callable[[Tracker], None]) -> list[str]:
    return [event["kind"] for event in events_after(*steps)]


def test_a_guest_that_ran_before_is_connected_to() -> None:
    assert kinds(found(1), found(1)) == ["connected"]


def test_the_same_qemu_is_connected_to_again() -> None:
    assert kinds(found(1), lost, found(1)) == ["connected", "disconnected", "connected"]


def test_another_qemu_has_been_started() -> None:
    assert kinds(found(1), lost, found(2)) == ["connected", "disconnected", "started"]


def test_a_qemu_that_was_absent_has_been_started() -> None:
    assert kinds(ended, found(None)) == ["disconnected", "started"]


def test_a_qemu_of_unknown_identity_is_connected_to_unless_it_was_absent() -> None:
    assert kinds(found(None), lost, found(None), lost, ended, found(None)) == [
        "connected", "disconnected", "connected", "disconnected", "started",
    ]  # fmt: skip


def test_a_lost_connection_is_reported_once_with_its_code() -> None:
    assert events_after(lost, lost, ended) == [{"kind": "disconnected", "code": CONNECTION_LOST}]


def test_a_domain_that_was_shut_off_has_been_started() -> None:
    assert kinds(Tracker.absent, found(1)) == ["started"]


def test_a_start_that_is_reported_and_observed_is_one_event() -> None:
    def started(tracker: Tracker) -> None:
        tracker.started(1, reason="booted")

    assert events_after(Tracker.absent, started, found(1), started) == [{"kind": "started", "reason": "booted"}]


def test_a_guest_that_arrives_by_a_migration_has_not_been_started() -> None:
    assert kinds(Tracker.absent, lambda tracker: tracker.arrives(1), found(1)) == []


def test_changes_of_vcpus_are_events() -> None:
    assert events_after(found(1), observed(0, 1), observed(0, 1, 4, 5), observed(0, 4)) == [
        {"kind": "connected"},
        {"kind": "vcpu_added", "vcpus": "4-5"},
        {"kind": "vcpu_removed", "vcpus": "1,5"},
    ]


def test_a_removal_while_the_connection_was_lost_is_an_event() -> None:
    steps = (found(1), observed(0, 1), lost, found(1), observed(0))
    assert events_after(*steps)[-1] == {"kind": "vcpu_removed", "vcpus": "1"}


def test_the_vcpus_of_another_qemu_are_no_changes() -> None:
    assert kinds(found(1), observed(0, 1), lost, found(2), observed(0))[-1] == "started"


def test_statistics_are_those_since_the_measurement_before() -> None:
    measured = events_after(
        found(1), lambda tracker: tracker.measure(10.0, {0: 1.0}), lambda tracker: tracker.measure(20.0, {0: 6.0})
    )
    # The event of the connection is still waiting.
    assert measured == [{"kind": "connected"}]
    assert events_after(
        lambda tracker: tracker.measure(10.0, {0: 1.0}), lambda tracker: tracker.measure(20.0, {0: 6.0})
    ) == [{"kind": "statistics", "utilization": 50.0, "count": 1, "seconds": 10.0}]


def test_events_contain_the_guest_and_its_options() -> None:
    (event,) = asyncio.run(taken(found(1)))
    assert event == {"kind": "connected", **COMMON}


def test_events_that_are_not_taken_are_dropped_and_counted() -> None:
    async def run() -> list[dict[str, Any]]:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        outbox = Outbox(queue, COMMON)
        for _number in range(MOST_WAITING + 7):
            outbox.post("reset", {})
        await passed(outbox)
        return [queue.get_nowait() for _number in range(queue.qsize())]

    events = asyncio.run(run())
    assert len(events) == MOST_WAITING
    assert [event.get("dropped") for event in events[:2]] == [7, None]
