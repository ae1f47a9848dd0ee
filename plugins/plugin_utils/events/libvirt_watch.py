# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch the guests of one libvirt daemon."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_state import recorded_in
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import (
    OPERATION_INVALID,
    LibvirtCallError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, MissingLibrary
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.libvirt_events import (
    ARRIVES,
    DomainEvent,
    Subscription,
)
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.pauses import REPLY_SECONDS, Alarm, BackOff, Schedule
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.tracker import STARTED, STOPPED, Tracker

CHECK_SECONDS = 5.0

# virConnectListAllDomains: active ones. virConnectGetAllDomainStats: of vCPUs, without waiting for calls that keep one.
_ACTIVE = 1 << 0
_STATS_VCPU = 1 << 3
_NOWAIT = 1 << 29


class _Running(NamedTuple):
    """A watched domain that runs, the QEMU that it runs in, and the CPU time of each of its vCPUs, in seconds."""

    tracker: Tracker
    qemu: tuple[str, int]
    times: Mapping[int, float]


class LibvirtWatch:
    """Watches guests at ``uri``, by their names or UUIDs, until it is cancelled.

    ``statistics`` is their interval in seconds.
    """

    def __init__(self, uri: str, trackers: Mapping[str, Tracker], statistics: float | None) -> None:
        self._uri = uri
        self._trackers = trackers
        # libvirt writes UUIDs in lower case.
        self._by_uuid = {name.lower(): tracker for name, tracker in trackers.items()}
        self._schedule = Schedule(statistics)
        self._alarm = Alarm()

    async def run(self) -> None:
        """Connect, and reconnect when the connection is lost; raises ``MissingLibrary``."""
        back_off = BackOff()
        while True:
            connection = Connection(self._uri, reading=False, patience=REPLY_SECONDS)
            try:
                await connection.open()
                await self._watch(connection, back_off)
            except MissingLibrary:
                raise
            except LibvirtCallError as error:
                self._lose(error.error("cannot observe the guests"))
            except HotplugError as error:
                self._lose(error)
            finally:
                await connection.close()
            await back_off.pause()

    def _lose(self, error: HotplugError) -> None:
        for tracker in self._trackers.values():
            tracker.disconnected(error)

    async def _watch(self, connection: Connection, back_off: BackOff) -> None:
        await Subscription(connection, self._receive).open()
        is_first = True
        while True:
            seen = await self._observe(connection)
            now = time.monotonic()
            if is_first:
                # Once this is reported, any change to what was observed is reported, too.
                self._compare(seen)
                is_first = False
            back_off.reset()
            due = self._schedule.is_due(now)
            for guest in seen:
                guest.tracker.observe(frozenset(guest.times))
                if due:
                    guest.tracker.measure(now, guest.times)
            await self._alarm.wait(self._schedule.until_due(time.monotonic(), CHECK_SECONDS))

    async def _observe(self, connection: Connection) -> list[_Running]:
        """Query libvirt for the watched domains that run, because not every change of vCPUs has an event."""
        domains = await connection.call(connection.handle.listAllDomains, _ACTIVE)
        running = []
        for domain in domains:
            uuid, number = domain.UUIDString(), domain.ID()
            trackers = self._trackers_of(domain.name(), uuid)
            times = await _times(connection, domain) if trackers else {}
            # Without any vCPU, it has just ended.
            if times:
                running += [_Running(tracker, (uuid, number), times) for tracker in trackers]
        return running

    def _compare(self, seen: Sequence[_Running]) -> None:
        """Find which guests were started or ended while there was no connection."""
        qemus = {guest.tracker: guest.qemu for guest in seen}
        for tracker in self._trackers.values():
            qemu = qemus.get(tracker)
            if qemu is None:
                tracker.absent()
            else:
                tracker.found(qemu)

    def _trackers_of(self, name: str, uuid: str) -> set[Tracker]:
        """Return the trackers of a domain: two if it is watched by its name and by its UUID."""
        found = self._trackers.get(name), self._by_uuid.get(uuid)
        return {tracker for tracker in found if tracker is not None}

    def _receive(self, event: DomainEvent) -> None:
        for tracker in self._trackers_of(event.name, event.uuid):
            self._alarm.ring()
            _report(event, tracker)


def _report(event: DomainEvent, tracker: Tracker) -> None:
    qemu = (event.uuid, event.id)
    if event.kind == STARTED:
        tracker.started(qemu, **event.details)
    elif event.kind == ARRIVES:
        tracker.arrives(qemu)
    elif event.kind is not None:
        tracker.post(event.kind, **event.details)
        if event.kind == STOPPED or event.details.get("direction") == "out":
            tracker.absent()


async def _times(connection: Connection, domain: Any) -> dict[int, float]:
    """Return the CPU time of each enabled vCPU in seconds, none if the domain has ended.

    Not by the statistics, for which libvirt sends query-stats, see ``DomainReader.again``: an event can arrive while
    the guest ejects a vCPU. Only they show vCPUs that share a thread, which is never the case under KVM.
    """
    try:
        vcpus, _pins = await connection.call(domain.vcpus)
        return {vcpu: nanoseconds / 1e9 for vcpu, _state, nanoseconds, _cpu in vcpus}
    except LibvirtCallError as error:
        if error.number != OPERATION_INVALID:
            # A thread has ended, and libvirt does not know yet of which vCPU.
            return {}
    found = await connection.call(connection.handle.domainListGetStats, [domain], _STATS_VCPU, _NOWAIT)
    stats = found[0][1] if found else {}
    return {vcpu: stats.get(f"vcpu.{vcpu}.time", 0) / 1e9 for vcpu in recorded_in(stats)}
