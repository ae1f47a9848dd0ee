# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host threads port: the interface to observe the threads of a guest's vCPUs in the kernel of the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import PLACEMENT_FAILED
from ansible_collections.kvm.hotplug.plugins.module_utils.model import EMPTY, Blocker

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.placement import Placement

ELSEWHERE = Blocker(
    PLACEMENT_FAILED,
    "the process of its QEMU is unknown on this host, so the threads of its vCPUs cannot be observed or placed",
    "run the task on the hypervisor itself, with a monitor that is a UNIX socket of QEMU's own, or use cputune: ignore",
)
SHARED_THREAD = Blocker(
    PLACEMENT_FAILED,
    "its vCPUs share one thread, so none of them can be placed (TCG with thread=single)",
    "start QEMU with -accel tcg,thread=multi, or use cputune: ignore",
)


class VcpuThreads(NamedTuple):
    """The threads of a QEMU's vCPUs: the process in the host's namespace, and each thread's id as QEMU has it.

    ``pid`` is None if the process is not on this host, or cannot be identified.
    """

    pid: int | None = None
    ids: Mapping[int, int] = EMPTY


class ThreadsView(NamedTuple):
    """The threads at one moment, all by vCPU id; a thread that was not found is missing.

    ``host_nodes`` are the host nodes with CPUs that a thread may run on. ``hidden`` is why no thread can be observed.
    ``host_cpus`` are the online CPUs of the host, None if unknown.
    """

    placements: Mapping[int, Placement] = EMPTY
    host_nodes: Mapping[int, frozenset[int]] = EMPTY
    hidden: Blocker | None = None
    host_cpus: frozenset[int] | None = None


class HostThreads(Protocol):
    """The kernel of the host that a task runs on."""

    async def observe(self, threads: VcpuThreads) -> ThreadsView:
        """Return where the threads run; changes nothing. A thread of another process is never returned."""
