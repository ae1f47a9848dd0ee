# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plugging into a guest of libvirt's: one task of ours, virsh looped in a task, and virsh alone, in turn."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench import tasks
from lab.daemon import Daemon
from lab.domains import LibvirtGuest

ROUNDS = 5
# As in plugs.py; here no vCPU goes again, so there are fresh ones for every plug.
MAXIMUM = 130


class Plugs(NamedTuple):
    """The seconds that plugging took, round by round."""

    ours: list[float]
    looped: list[float]
    bare: list[float]


def measure(folder: Path, daemon: Daemon, count: int) -> Plugs:
    """Plug ``count`` vCPUs by each of the three ways, round by round, none of them twice."""
    with LibvirtGuest(daemon, vcpus=f"<vcpu current='1'>{MAXIMUM}</vcpu>", append="lab.onliner=0") as guest:
        guest.wait_ready()
        fresh = iter(range(1, MAXIMUM))
        # What fills Ansible's own caches.
        play: list[dict[str, Any]] = [
            {"name": "first", **_vcpu(guest, [0])},
            {"name": "first", **_virsh(daemon, "domstate", guest.name)},
        ]
        for _round in range(ROUNDS):
            play.append({"name": "ours", **_vcpu(guest, _next(fresh, count))})
            command = _virsh(daemon, "setvcpu", guest.name, "--enable", "--live", "{{ item }}")
            play.append({"name": "looped", **command, "loop": _next(fresh, count)})
        measured = tasks.durations(folder, play, daemon.python, daemon.environment)
        bare = [_timed(guest, _next(fresh, count)) for _round in range(ROUNDS)]
    return Plugs(measured["ours"], measured["looped"], bare)


def _next(fresh: Iterator[int], count: int) -> list[int]:
    return [next(fresh) for _vcpu in range(count)]


def _vcpu(guest: LibvirtGuest, ids: list[int]) -> dict[str, Any]:
    desired = [{"id": ",".join(str(vcpu) for vcpu in ids), "state": "enabled"}]
    return {"kvm.hotplug.vcpu": {"name": guest.name, "uri": guest.daemon.uri, "vcpus": desired, "scope": "live"}}


def _virsh(daemon: Daemon, *words: str) -> dict[str, Any]:
    virsh = os.fspath(daemon.software.root / "usr/bin/virsh")
    return {"ansible.builtin.command": {"argv": [virsh, "-q", "-c", daemon.uri, *words]}}


def _timed(guest: LibvirtGuest, ids: list[int]) -> float:
    started = time.perf_counter()
    for vcpu in ids:
        guest.virsh("setvcpu", "--enable", "--live", str(vcpu))
    return time.perf_counter() - started
