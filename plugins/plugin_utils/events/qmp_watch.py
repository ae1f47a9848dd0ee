# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch one guest at a QMP socket that this event source has for itself."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.cpu_time import cpu_times
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import MOST_VCPUS, invalid_reply
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.monitor import Monitor
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    MONITOR_UNREACHABLE,
    HotplugError,
    MissingLibrary,
    NoListener,
)
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events import translate
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.pauses import REPLY_SECONDS, Alarm, BackOff, Schedule
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.tracker import MIGRATED, Tracker

CHECK_SECONDS = 5.0

_PERIPHERAL = "/machine/peripheral"
_MOST_PORTS = 64


class Cpu(NamedTuple):
    """A plugged vCPU in QEMU: the id of its thread, and the id of the device that it is or is a part of, if any."""

    thread: int
    device: str | None


class QmpWatch:
    """Watches the guest at ``address`` until it is cancelled; ``statistics`` is their interval in seconds."""

    def __init__(self, address: str, tracker: Tracker, statistics: float | None) -> None:
        self._address = address
        self._tracker = tracker
        self._schedule = Schedule(statistics)
        self._alarm = Alarm()
        self._cpus: Mapping[int, Cpu] = {}
        self._agent_ports: frozenset[str] = frozenset()
        self._status: str | None = None

    async def run(self) -> None:
        """Connect, and reconnect when the connection is lost; raises ``MissingLibrary``."""
        back_off = BackOff()
        while True:
            monitor = Monitor(self._address, REPLY_SECONDS)
            monitor.on_event(self._receive)
            try:
                await monitor.connect()
                await self._watch(monitor, back_off)
            except MissingLibrary:
                raise
            except CommandError as error:
                reason = f"the QEMU at {self._address} cannot be observed: {error.desc}"
                self._tracker.disconnected(HotplugError(MONITOR_UNREACHABLE, reason))
            except HotplugError as error:
                self._tracker.disconnected(error, is_absent=isinstance(error, NoListener))
            finally:
                await monitor.close()
            await back_off.pause()

    async def _watch(self, monitor: Monitor, back_off: BackOff) -> None:
        self._status = None
        pid = monitor.peer_pid()
        self._agent_ports = await _agent_ports(monitor)
        while True:
            cpus, status = await _observe(monitor)
            # Once this is reported, any change to what was observed is reported, too.
            self._tracker.found(pid)
            back_off.reset()
            self._cpus = cpus
            self._tracker.observe(frozenset(cpus))
            self._follow(status)
            if self._schedule.is_due(time.monotonic()):
                await self._measure(pid)
            await self._alarm.wait(self._schedule.until_due(time.monotonic(), CHECK_SECONDS))

    def _follow(self, status: str) -> None:
        before, self._status = self._status, status
        if before == status or before is None:
            return
        if status == "postmigrate":
            self._tracker.post(MIGRATED, direction="out")
        elif before == "inmigrate":
            self._tracker.post(MIGRATED, direction="in")

    async def _measure(self, pid: int | None) -> None:
        users = Counter(cpu.thread for cpu in self._cpus.values())
        if pid is None or pid in users or any(number > 1 for number in users.values()):
            self._tracker.cannot_measure("its vCPUs have no threads of their own that are known on this host")
            return
        threads = {vcpu: cpu.thread for vcpu, cpu in self._cpus.items()}
        times = await asyncio.to_thread(cpu_times, pid, threads)
        self._tracker.measure(time.monotonic(), times)

    def _receive(self, event: Mapping[str, Any]) -> None:
        name = event.get("event")
        if name in translate.HINTS:
            self._alarm.ring()
        found = translate.of_qemu(name, event.get("data"))
        if found is None:
            return
        if found.kind in (translate.AGENT_CONNECTED, translate.AGENT_DISCONNECTED):
            if found.device in self._agent_ports:
                self._tracker.post(found.kind)
        elif found.device is None:
            self._tracker.post(found.kind, **found.details)
        else:
            # Of other devices than CPUs, it is of no interest.
            vcpus = [vcpu for vcpu, cpu in self._cpus.items() if cpu.device == found.device]
            if vcpus:
                self._tracker.post(found.kind, vcpus=format_cpulist(vcpus), **found.details)


async def _observe(monitor: Monitor) -> tuple[dict[int, Cpu], str]:
    """Return the vCPUs and the run state, which QEMU is queried for because not every change has an event."""
    replies = await monitor.execute_all([("query-cpus-fast", {}), ("query-status", {})])
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    status = replies[1].get("status") if isinstance(replies[1], Mapping) else None
    if not isinstance(status, str):
        raise invalid_reply("query-status", replies[1])
    return _read_cpus(replies[0]), status


async def _agent_ports(monitor: Monitor) -> frozenset[str]:
    """Return the ids of the virtio serial ports of the guest agent; a port without an id has no events."""
    listed = await monitor.execute("qom-list", path=_PERIPHERAL)
    children = listed if isinstance(listed, list) else []
    ports = [
        child["name"]
        for child in children
        if isinstance(child, Mapping) and child.get("type") == "child<virtserialport>"
        if isinstance(child.get("name"), str)
    ][:_MOST_PORTS]
    names = await monitor.execute_all(
        [("qom-get", {"path": f"{_PERIPHERAL}/{port}", "property": "name"}) for port in ports]
    )
    return frozenset(port for port, name in zip(ports, names) if name == translate.AGENT_PORT)


def _read_cpus(reply: object) -> dict[int, Cpu]:
    """Return the vCPUs by their ids, which QEMU calls indexes; raises ``HotplugError`` (monitor_unreachable)."""
    cpus: dict[int, Cpu] = {}
    for entry in reply if isinstance(reply, list) else [None]:
        found = entry if isinstance(entry, Mapping) else {}
        index, thread, path = (found.get(key) for key in ("cpu-index", "thread-id", "qom-path"))
        if not isinstance(index, int) or not isinstance(thread, int) or not isinstance(path, str):
            raise invalid_reply("query-cpus-fast", reply)
        if not 0 <= index < MOST_VCPUS:
            raise invalid_reply("query-cpus-fast", reply)
        is_device = path.startswith(f"{_PERIPHERAL}/")
        cpus[index] = Cpu(thread, path[len(_PERIPHERAL) + 1 :].partition("/")[0] if is_device else None)
    return cpus
