# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads of a QEMU on this host, by which the host's kernel shows its vCPUs."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.kernel_files import field_of, read_text
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.processes import PROC
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads

# libvirt has QEMU name its threads, after the vCPU's index and the accelerator.
_VCPU = re.compile(r"CPU ([0-9]{1,6})/[A-Za-z]+")
_ALL_IN_ONE = "ALL CPUs/"

_ENDED = ("Z", "X")
# Of the kernel, in /proc/PID/stat: the thread is in its exit.
_PF_EXITING = 0x4
# In the mask of pending signals. The end of a process sends SIGKILL to each of its threads before any of them ends.
_SIGKILL = 1 << 8


def threads_of(process: Path | None) -> VcpuThreads:
    """Return the QEMU in this folder of /proc, if there is one, and the threads of its vCPUs unless they share one."""
    if process is None:
        return VcpuThreads()
    pid, proc = int(process.name), process.parent
    # A thread may end meanwhile, or the user may not inspect it: callers have other signs.
    with contextlib.suppress(OSError, ValueError):
        return VcpuThreads(pid, {vcpu: _own_id(task) for vcpu, task in _vcpu_tasks(pid, proc).items()})
    return VcpuThreads()


def vcpus_in(threads: VcpuThreads, proc: Path = PROC) -> frozenset[int] | None:
    """Return the vCPUs that have a thread now in the process of ``threads``; None if none was found before or now."""
    if threads.pid is None or not threads.ids:
        return None
    with contextlib.suppress(OSError):
        return frozenset(_vcpu_tasks(threads.pid, proc)) or None
    return None


def _vcpu_tasks(pid: int, proc: Path) -> dict[int, str]:
    """The folder of the thread of each vCPU, none if they share one; raises ``OSError``."""
    found: dict[int, str] = {}
    for task in _tasks_of(pid, proc):
        name = read_text(f"{task}/comm").strip()
        if name.startswith(_ALL_IN_ONE):
            return {}
        match = _VCPU.fullmatch(name)
        if match is not None:
            found[int(match.group(1))] = task
    return found


def is_ending(threads: VcpuThreads, proc: Path = PROC) -> bool:
    """Return whether the QEMU that had these ``threads`` is ending or has ended; False if it is not on this host.

    vCPU 0 cannot be unplugged: without its thread, QEMU is ending.
    """
    if threads.pid is None:
        return False
    try:
        permanent = [f"{proc}/{threads.pid}/task/{threads.pid}"]
        if threads.ids:
            first = next((task for task in _tasks_of(threads.pid, proc) if _vcpu_of(task) == 0), None)
            if first is None:
                return True
            permanent.append(first)
        return any(map(_is_ending, permanent))
    except OSError:
        return True


def _tasks_of(pid: int, proc: Path) -> list[str]:
    """The folders of the threads of a process; raises ``OSError``."""
    folder = f"{proc}/{pid}/task"
    return [f"{folder}/{name}" for name in os.listdir(folder)]


def _vcpu_of(task: str) -> int | None:
    """The vCPU of a thread; None for another thread, and for one that has ended."""
    with contextlib.suppress(OSError):
        match = _VCPU.fullmatch(read_text(f"{task}/comm").strip())
        return int(match.group(1)) if match else None
    return None


def _is_ending(task: str) -> bool:
    # The name before the last parenthesis can contain anything.
    fields = read_text(f"{task}/stat").rpartition(")")[2].split()
    status = read_text(f"{task}/status")
    pending = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigPnd:")), 0)
    return fields[0] in _ENDED or bool(int(fields[6]) & _PF_EXITING) or bool(pending & _SIGKILL)


def _own_id(task: str) -> int:
    """The id of a thread as its process has it."""
    return int(field_of(read_text(f"{task}/status"), "NSpid").split()[-1])
