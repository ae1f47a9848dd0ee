# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many guests: one batch, against a loop of single tasks, a loop of virsh, and raw pipelined QMP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import tasks
from lab import observer
from lab.daemon import Daemon
from lab.domains import LibvirtGuest
from lab.guest import Guest

ROUNDS = 3
MAXIMUM = 40

Times = dict[str, list[float]]


@contextlib.contextmanager
def guests(folder: Path, count: int) -> Iterator[list[Guest]]:
    """Start paused guests that no libvirt runs."""
    smp = f"1,sockets={MAXIMUM},maxcpus={MAXIMUM}"
    with contextlib.ExitStack() as started:
        options: dict[str, Any] = {"smp": smp, "memory": 32, "boot": False, "paused": True}
        yield [started.enter_context(Guest(folder / str(number), **options)) for number in range(count)]


@contextlib.contextmanager
def domains(daemon: Daemon, count: int) -> Iterator[list[LibvirtGuest]]:
    """Start paused guests of libvirt's."""
    with contextlib.ExitStack() as started:
        options: dict[str, Any] = {"memory": 32, "boot": False, "paused": True}
        vcpus = f"<vcpu current='1'>{MAXIMUM}</vcpu>"
        yield [
            started.enter_context(LibvirtGuest(daemon, name=f"fleet-{number}", vcpus=vcpus, **options))
            for number in range(count)
        ]


def measure_qmp(folder: Path, fleet: Sequence[Guest], enabled: int) -> Times:
    """Return the seconds by what was done; the guests have ``enabled`` vCPUs before, and more afterwards."""
    named = [{"qmp_socket": guest.qmp_socket} for guest in fleet]
    play: list[dict[str, Any]] = [_batch("first", named, enabled)]
    for _round in range(ROUNDS):
        play.append(_batch("batch, nothing to do", named, enabled))
        play.append(_looped("loop, nothing to do", named, enabled))
        enabled += 1
        play.append(_batch("batch, one more", named, enabled))
        enabled += 1
        play.append(_looped("loop, one more", named, enabled))
    found = tasks.durations(folder, play, sys.executable, {})
    found["raw, one more"] = [_timed_raw(fleet) for _round in range(ROUNDS)]
    return found


def measure_libvirt(folder: Path, daemon: Daemon, fleet: Sequence[LibvirtGuest], enabled: int) -> Times:
    """Return the same for guests of libvirt's, against virsh in a loop."""
    named = [{"name": guest.name, "uri": daemon.uri} for guest in fleet]
    virsh = os.fspath(daemon.software.root / "usr/bin/virsh")
    play: list[dict[str, Any]] = [_batch("first", named, enabled, scope="live")]
    for _round in range(ROUNDS):
        play.append(_batch("batch, nothing to do", named, enabled, scope="live"))
        play.append(_batch("batch, one more", named, enabled + 1, scope="live"))
        argv = [virsh, "-q", "-c", daemon.uri, "setvcpu", "{{ item }}", "--enable", "--live", str(enabled + 1)]
        looped = {"ansible.builtin.command": {"argv": argv}, "loop": [guest.name for guest in fleet]}
        play.append({"name": "virsh, one more", **looped})
        enabled += 2
    return tasks.durations(folder, play, daemon.python, daemon.environment)


def vcpus_after(enabled: int) -> int:
    """Return how many vCPUs each guest has after a measurement that began with ``enabled``, raw QMP's included."""
    return enabled + 3 * ROUNDS


def _batch(name: str, named: Sequence[dict[str, Any]], count: int, **defaults: Any) -> dict[str, Any]:
    desired = {"count": count, "guest_online": "ignore", **defaults}
    return {"name": name, "kvm.hotplug.vcpu_batch": {"guests": list(named), "defaults": desired}}


def _looped(name: str, named: Sequence[dict[str, Any]], count: int) -> dict[str, Any]:
    desired = {"qmp_socket": "{{ item.qmp_socket }}", "count": count, "guest_online": "ignore"}
    return {"name": name, "kvm.hotplug.vcpu": desired, "loop": list(named)}


def _timed_raw(fleet: Sequence[Guest]) -> float:
    started = time.perf_counter()
    asyncio.run(_raw(fleet))
    return time.perf_counter() - started


async def _raw(fleet: Sequence[Guest]) -> None:
    await asyncio.gather(*(asyncio.to_thread(_one_more, guest) for guest in fleet))


def _one_more(guest: Guest) -> None:
    with observer.Monitor(guest.qmp_socket) as monitor:
        slot = next(slot for slot in observer.slots(monitor) if "qom-path" not in slot)
        monitor.execute("device_add", driver=slot["type"], id=f"vcpu{slot['ids'][0]}", **slot["props"])
