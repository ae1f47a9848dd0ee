# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plugging in one process: the engine against the least that QMP takes, from connecting to the last acknowledgement."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import lay_out
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.machine import QmpMachine
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import DirectSource
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import CountTarget
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.guest import Run
from lab import observer
from lab.guest import Guest

ROUNDS = 7
# QEMU's TCG ends with an assertion once more vCPUs were plugged in its life than the machine can have.
MAXIMUM = 66
# A guest that has just let a vCPU go takes the next one in later: both sides find it rested.
REST_SECONDS = 0.3
# Its config, which is not written: each vCPU has a host CPU of its own, as far as there are enough, and a scheduler.
DOMAIN = """\
<domain type='qemu'>
  <name>lab</name>
  <vcpu current='1'>{maximum}</vcpu>
  <cputune>{pins}<vcpusched vcpus='0-{last}' scheduler='batch'/></cputune>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu><topology sockets='{maximum}' cores='1' threads='1'/></cpu>
</domain>
"""

Plug = Callable[[Guest, int], None]


def measure(folder: Path, count: int) -> tuple[list[float], list[float]]:
    """Return the seconds that ours and raw QMP took to plug ``count`` vCPUs, round by round, on fresh guests."""
    return _measure(folder, count, _plug, _raw)


def measure_placed(folder: Path, count: int) -> tuple[list[float], list[float]]:
    """Return the seconds that it took to plug ``count`` vCPUs with and without placing their threads by <cputune>."""
    folder.mkdir(exist_ok=True)
    config = folder / "lab.xml"
    cpus = sorted(os.sched_getaffinity(0))
    pins = "".join(f"<vcpupin vcpu='{vcpu}' cpuset='{cpus[vcpu % len(cpus)]}'/>" for vcpu in range(MAXIMUM))
    config.write_text(DOMAIN.format(maximum=MAXIMUM, last=MAXIMUM - 1, pins=pins), encoding="utf-8")

    def plug(cputune: str) -> Plug:
        return lambda guest, count: _converge(guest, 1 + count, config, cputune)

    return _measure(folder, count, plug("apply"), plug("ignore"))


def _measure(folder: Path, count: int, plug: Plug, other: Plug) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    theirs: list[float] = []
    while len(ours) < ROUNDS:
        with Guest(folder, smp=f"1,sockets={MAXIMUM},maxcpus={MAXIMUM}", append="lab.onliner=0") as guest:
            guest.wait_ready()
            for _round in range(min(ROUNDS - len(ours), (MAXIMUM - 1) // (2 * count))):
                ours.append(_timed(guest, count, plug))
                theirs.append(_timed(guest, count, other))
    return ours, theirs


def _timed(guest: Guest, count: int, plug: Plug) -> float:
    time.sleep(REST_SECONDS)
    started = time.perf_counter()
    plug(guest, count)
    seconds = time.perf_counter() - started
    _converge(guest, 1)
    return seconds


def _plug(guest: Guest, count: int) -> None:
    _converge(guest, 1 + count)


def _converge(guest: Guest, count: int, config: Path | None = None, cputune: str = "ignore") -> None:
    """Change the running guest, with the file of its config or without."""

    async def open_machine() -> QmpMachine:
        machine = QmpMachine(guest.qmp_socket, 60)
        await machine.connect()
        return machine

    xml = None
    if config is not None:
        xml = XmlFile(str(config), 60, lambda domain: lay_out(domain, "never", None, 60))
    run = Run(DirectSource(open_machine, xml), Request(CountTarget(count), scope="live", cputune=cputune))

    async def converge() -> None:
        try:
            await run.prepare()
            await run.finish()
        finally:
            await run.close()

    asyncio.run(converge())
    if run.result.error is not None:
        raise run.result.error


def _raw(guest: Guest, count: int) -> None:
    with observer.Monitor(guest.qmp_socket) as monitor:
        empty = [slot for slot in observer.slots(monitor) if "qom-path" not in slot][:count]
        for slot in empty:
            monitor.send("device_add", driver=slot["type"], id=f"vcpu{slot['ids'][0]}", **slot["props"])
        waiting = {str(slot["ids"][0]) for slot in empty}
        seen = 0
        while waiting:
            monitor.wait_event("ACPI_DEVICE_OST", timeout=60, since=seen)
            for event in monitor.events[seen:]:
                info = event["data"].get("info", {})
                if event["event"] == "ACPI_DEVICE_OST" and (info["source"], info["status"]) == (1, 0):
                    waiting.discard(info["slot"])
            seen = len(monitor.events)
