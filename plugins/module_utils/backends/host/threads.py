# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host threads port on this host: what the kernel shows of the threads of a QEMU, below /proc and /sys."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.cgroups import Cgroups
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.kernel_files import field_of, read_text
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import Placement
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import (
    ELSEWHERE,
    SHARED_THREAD,
    ThreadsView,
    VcpuThreads,
)

PROC = Path("/proc")
SYS = Path("/sys")

# linux/sched.h; batch, idle and deadline have no priority.
_POLICIES = {0: "other", 1: "fifo", 2: "rr", 3: "batch", 5: "idle", 6: "deadline"}
_WITH_PRIORITY = ("fifo", "rr")
# proc_pid_stat(5): fields 40 and 41, of which the first two are before the parenthesis that ends the name.
_RT_PRIORITY, _POLICY = 40 - 3, 41 - 3


class LocalThreads:
    """The threads below ``proc``, and the host's nodes below ``sys``."""

    def __init__(self, proc: Path = PROC, sys: Path = SYS) -> None:
        self._proc = proc
        self._sys = sys

    async def observe(self, threads: VcpuThreads) -> ThreadsView:
        if threads.pid is None:
            return ThreadsView(hidden=ELSEWHERE)
        if not threads.ids:
            return ThreadsView(hidden=SHARED_THREAD)
        # In this thread: the kernel replies at once, and a change of threads takes longer than the reading.
        return self._observe(threads.pid, threads.ids)

    def _observe(self, pid: int, ids: Mapping[int, int]) -> ThreadsView:
        found = _statuses(pid, ids, self._proc)
        if not found:
            return ThreadsView(hidden=ELSEWHERE)
        cgroups = Cgroups(self._proc)
        nodes = dict(self._nodes())
        placements: dict[int, Placement] = {}
        host_nodes: dict[int, frozenset[int]] = {}
        for vcpu, (thread, status) in found.items():
            folder = f"{self._proc}/{pid}/task/{thread}"
            # The thread may end at any moment.
            with contextlib.suppress(OSError, ValueError, IndexError):
                cpus = parse_cpulist(field_of(status, "Cpus_allowed_list"))
                placements[vcpu] = Placement(format_cpulist(cpus), _scheduler(folder), cgroups.bandwidth(folder))
                host_nodes[vcpu] = frozenset(node for node, has in nodes.items() if not has.isdisjoint(cpus))
        return ThreadsView(placements, host_nodes, host_cpus=online_cpus(self._sys))

    def _nodes(self) -> Iterator[tuple[int, frozenset[int]]]:
        """The CPUs of each node of the host that has any."""
        nodes = f"{self._sys}/devices/system/node"
        with contextlib.suppress(OSError):
            for name in os.listdir(nodes):
                if name.startswith("node") and name[4:].isdecimal():
                    with contextlib.suppress(OSError, ValueError):
                        yield int(name[4:]), parse_cpulist(read_text(f"{nodes}/{name}/cpulist"))


def online_cpus(sys: Path = SYS) -> frozenset[int] | None:
    """Return the online CPUs of this host; None if they cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return parse_cpulist(read_text(f"{sys}/devices/system/cpu/online").strip())
    return None


def host_ids(pid: int, ids: Mapping[int, int], proc: Path = PROC) -> dict[int, int]:
    """Return the ids in this namespace of those threads that process ``pid`` has, by the same keys.

    ``ids`` are those in the process's own namespace: QEMU may run in a container.
    """
    return {key: thread for key, (thread, _status) in _statuses(pid, ids, proc).items()}


def _statuses(pid: int, ids: Mapping[int, int], proc: Path) -> dict[int, tuple[int, str]]:
    """The id in this namespace and the status of each of those threads."""
    tasks = f"{proc}/{pid}/task"
    found: dict[int, tuple[int, str]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(tasks):
            with contextlib.suppress(OSError, ValueError):
                status = read_text(f"{tasks}/{name}/status")
                found[int(field_of(status, "NSpid").split()[-1])] = int(name), status
    return {key: found[thread] for key, thread in ids.items() if thread in found}


def _scheduler(folder: str) -> str | None:
    """The scheduler of a thread; None for one that has no name here."""
    fields = read_text(f"{folder}/stat").rpartition(")")[2].split()
    name = _POLICIES.get(int(fields[_POLICY]))
    return f"{name}:{int(fields[_RT_PRIORITY])}" if name in _WITH_PRIORITY else name
