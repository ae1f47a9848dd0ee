# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The placer port on this host: affinity and scheduler by system calls, bandwidth by a control group."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.bandwidth import limit, no_real_time, release
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.cgroups import Cgroups, lacks_real_time
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.threads import PROC, SYS, host_ids, online_cpus
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import PLACEMENT_FAILED, HotplugError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.placement import Placement
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads

# linux/sched.h: not every system's Python has names for them.
_POLICIES = {"other": 0, "fifo": 1, "rr": 2, "batch": 3, "idle": 5}
_REAL_TIME = ("fifo", "rr")


class HostPlacer:
    """The kernel of this host, as the user of the task."""

    def __init__(self, proc: Path = PROC, sys: Path = SYS) -> None:
        self._proc = proc
        self._sys = sys

    async def place(self, vcpu: int, threads: VcpuThreads, requested: Placement) -> None:
        await asyncio.to_thread(self._place, vcpu, threads, requested)

    async def release(self, vcpu: int, threads: VcpuThreads) -> None:
        if threads.pid is not None:
            await asyncio.to_thread(release, vcpu, threads.pid, self._proc)

    def _place(self, vcpu: int, threads: VcpuThreads, requested: Placement) -> None:
        """In libvirt's order: the affinity and the scheduler may depend on the control group."""
        found = None
        if threads.pid is not None and vcpu in threads.ids:
            found = host_ids(threads.pid, {vcpu: threads.ids[vcpu]}, self._proc).get(vcpu)
        if threads.pid is None or found is None:
            raise thread_gone()
        if requested.bandwidth is not None:
            limit(vcpu, threads.pid, found, requested.bandwidth, self._proc)
        if requested.pin is not None:
            self._pin(found, requested.pin)
        if requested.scheduler is not None:
            self._schedule(threads.pid, found, requested.scheduler)

    def _pin(self, thread: int, pin: str) -> None:
        online = online_cpus(self._sys)
        cpus = parse_cpulist(pin) if online is None else parse_cpulist(pin) & online
        if not cpus:
            raise _failed(f"host CPU {pin} is offline or does not exist", "bring it online, or correct <cputune>")
        with _explained(f"its affinity cannot be set to {pin}", "run the task as root (become: true)"):
            os.sched_setaffinity(thread, cpus)
            allowed = os.sched_getaffinity(thread)
        if allowed != cpus:
            raise _outside(pin, format_cpulist(allowed))

    def _schedule(self, pid: int, thread: int, scheduler: str) -> None:
        name, _colon, priority = scheduler.partition(":")
        what = f"its scheduler cannot be set to {scheduler}"
        remedy = "run the task as root (become: true), which real-time schedulers need, or correct <vcpusched>"
        if name not in _POLICIES:
            raise _failed(what, "use batch, idle, fifo or rr")
        with _explained(what, remedy):
            try:
                os.sched_setscheduler(thread, _POLICIES[name], os.sched_param(int(priority or 0)))
            except PermissionError:
                group = Cgroups(self._proc).group(self._proc / str(pid) / "task" / str(thread))
                if name not in _REAL_TIME or group is None or not lacks_real_time(group):
                    raise
                reason, remedy = no_real_time(group)
                raise _failed(f"{what}, because {reason}", remedy) from None


def thread_gone() -> HotplugError:
    """Return the error for a vCPU whose thread was not found."""
    return _failed(
        "its thread was not found: it has ended, or other vCPUs share it",
        "run the task again, and start a TCG guest with -accel tcg,thread=multi",
    )


@contextmanager
def _explained(what: str, permission: str) -> Iterator[None]:
    """Raise the reason and the remedy for an error of a system call."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise thread_gone() from None
        if error.errno == errno.EPERM:
            raise _failed(f"{what}, because this user may not", permission) from None
        reason = "the cpuset of its control group, or the range of priorities, excludes it"
        if error.errno != errno.EINVAL:
            reason = os.strerror(error.errno or 0)
        raise _failed(f"{what}: {reason}", "correct <cputune>, or the control group of QEMU") from None


def _outside(pin: str, allowed: str) -> HotplugError:
    return _failed(
        f"the cpuset of its control group allows only host CPU {allowed} of {pin}",
        "correct <cputune>, or the cpuset of QEMU's control group",
    )


def _failed(reason: str, remedy: str) -> HotplugError:
    return HotplugError(PLACEMENT_FAILED, f"{reason}; {remedy}, or use cputune: ignore")
