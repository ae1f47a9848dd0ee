# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit the CPU time of a vCPU's thread, in a control group of its own below that of QEMU.

In version 2 it is a threaded group, and QEMU must be alone in its own group: its type and controllers change.
In version 1 a group takes any thread and nothing else changes, so QEMU may share its group, and names contain its id.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.cgroups import Cgroups, lacks_real_time
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import PLACEMENT_FAILED, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import UNLIMITED

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.placement import Bandwidth

_OWN_GROUP = "start QEMU in a control group of its own, as with systemd-run --scope --property=Delegate=cpu"
_DEFAULT_PERIOD = 100000
# No other program uses names that begin so, and only groups with such names are removed.
_PREFIX = "kvm.hotplug-"
# A thread leaves its group a moment after QEMU has seen it end.
_TRIES, _TRY_SECONDS = 20, 0.01
_REAL_TIME = (1, 2)  # linux/sched.h: fifo and rr


def limit(vcpu: int, pid: int, thread: int, bandwidth: Bandwidth, proc: Path) -> None:
    """Move ``thread`` of process ``pid`` into a group with this bandwidth, and create that if necessary.

    Raises ``HotplugError`` (placement_failed). Other processes are never affected.
    """
    cgroups = Cgroups(proc)
    parent = cgroups.group(proc / str(pid))
    if parent is None:
        raise _failed("the control group of QEMU cannot be found", "run the task on the hypervisor itself")
    child = _child(cgroups, parent, vcpu, pid)
    if cgroups.unified:
        _require_own_group(parent, pid)
        change = _limit_unified
    else:
        _remove_those_of_ended_processes(parent, proc)
        change = _limit_version_1
    try:
        with contextlib.suppress(FileExistsError):
            child.mkdir()
        change(child, thread, bandwidth)
    except OSError as error:
        if error.errno == errno.EINVAL and lacks_real_time(child) and os.sched_getscheduler(thread) in _REAL_TIME:
            # The group stays, because the remedy changes it.
            raise _failed(*no_real_time(child)) from None
        # A group with a thread in it stays.
        with contextlib.suppress(OSError):
            child.rmdir()
        raise _failed(f"{child} cannot be used: {error.strerror}", f"run the task as root, or {_OWN_GROUP}") from None


def release(vcpu: int, pid: int, proc: Path) -> None:
    """Remove the group of a vCPU of process ``pid`` whose thread has ended; one with a thread in it stays."""
    cgroups = Cgroups(proc)
    parent = cgroups.group(proc / str(pid))
    if parent is None:
        return
    child = _child(cgroups, parent, vcpu, pid)
    for _try in range(_TRIES):
        try:
            child.rmdir()
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                return
            time.sleep(_TRY_SECONDS)
        else:
            return


def no_real_time(group: Path) -> tuple[str, str]:
    """Return the reason and the remedy for a thread with a real-time scheduler in a group that lacks time for it."""
    return (
        f"the control group {group} has no time for real-time schedulers (its cpu.rt_runtime_us is 0)",
        "write a time in microseconds to that file, which those of the groups above must allow",
    )


def _child(cgroups: Cgroups, parent: Path, vcpu: int, pid: int) -> Path:
    return parent / (f"{_PREFIX}vcpu{vcpu}" if cgroups.unified else f"{_PREFIX}{pid}-vcpu{vcpu}")


def _limit_unified(child: Path, thread: int, bandwidth: Bandwidth) -> None:
    if _words(child / "cgroup.type") != ["threaded"]:
        _write(child / "cgroup.type", "threaded")
    if "cpu" not in _words(child.parent / "cgroup.subtree_control"):
        _write(child.parent / "cgroup.subtree_control", "+cpu")
    quota = "max" if bandwidth == UNLIMITED else str(bandwidth.quota)
    # Before the thread is moved, so that it never runs there without the limit.
    _write(child / "cpu.max", f"{quota} {bandwidth.period or _DEFAULT_PERIOD}")
    _write(child / "cgroup.threads", str(thread))


def _limit_version_1(child: Path, thread: int, bandwidth: Bandwidth) -> None:
    # The kernel checks each write against the groups above: an old quota could be too much for the new period.
    _write(child / "cpu.cfs_quota_us", "-1")
    if bandwidth != UNLIMITED:
        _write(child / "cpu.cfs_period_us", str(bandwidth.period or _DEFAULT_PERIOD))
        _write(child / "cpu.cfs_quota_us", str(bandwidth.quota))
    _write(child / "tasks", str(thread))


def _remove_those_of_ended_processes(parent: Path, proc: Path) -> None:
    """Remove empty groups of version 1 that were created for a QEMU which has ended."""
    for group in parent.glob(f"{_PREFIX}*-vcpu*"):
        if not (proc / group.name[len(_PREFIX) :].partition("-")[0]).exists():
            with contextlib.suppress(OSError):
                group.rmdir()


def _require_own_group(group: Path, pid: int) -> None:
    """Require of a group of version 2 that threaded groups can be created in it and that only QEMU is affected."""
    try:
        members = _words(group / "cgroup.procs")
        controllers = _words(group / "cgroup.controllers")
    except OSError as error:
        raise _failed(f"the control group {group} cannot be read: {error.strerror}", "run the task as root") from None
    if members != [str(pid)]:
        raise _failed(f"QEMU shares the control group {group} with other processes", _OWN_GROUP)
    if "cpu" not in controllers:
        raise _failed(f"the control group {group} has no cpu controller", _OWN_GROUP)


def _words(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").split()


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii")


def _failed(reason: str, remedy: str) -> HotplugError:
    return HotplugError(
        PLACEMENT_FAILED, f"its period and quota cannot be set, because {reason}; {remedy}, or use cputune: ignore"
    )
