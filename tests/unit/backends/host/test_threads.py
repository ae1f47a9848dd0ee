# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The threads of a process, by the kernel of this host and by folders like its /proc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.cgroups import Cgroups
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.threads import LocalThreads, host_ids
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import UNLIMITED, Bandwidth, Placement
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import (
    ELSEWHERE,
    SHARED_THREAD,
    ThreadsView,
    VcpuThreads,
)

from ...support.queries import run

MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "32 31 0:29 / {root}/cpu rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct\n"
    "41 31 0:38 /machine {root}/uni\\040fied rw - cgroup2 cgroup2 rw\n"
)


def look(threads: VcpuThreads, adapter: LocalThreads | None = None) -> ThreadsView:
    return run(lambda: (adapter or LocalThreads()).observe(threads))


def test_pin_and_scheduler_are_the_kernels(thread: int) -> None:
    cpu = min(os.sched_getaffinity(0))
    os.sched_setaffinity(thread, {cpu})
    os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
    view = look(VcpuThreads(os.getpid(), {0: os.getpid(), 3: thread, 5: 1}))
    assert (view.placements[3].pin, view.placements[3].scheduler) == (str(cpu), "batch")
    assert view.placements[0].scheduler == "other"
    assert set(view.placements) == {0, 3}, "a thread of another process was taken for one of this"


def test_threads_of_another_process_are_never_returned(thread: int) -> None:
    assert look(VcpuThreads(os.getppid(), {0: thread})) == ThreadsView(hidden=ELSEWHERE)


@pytest.mark.parametrize(
    ("threads", "hidden"),
    [
        (VcpuThreads(), ELSEWHERE),
        (VcpuThreads(None, {0: 1}), ELSEWHERE),
        (VcpuThreads(os.getpid()), SHARED_THREAD),
        (VcpuThreads(2**30, {0: 1}), ELSEWHERE),
    ],
)
def test_threads_that_cannot_be_observed_have_a_reason(threads: VcpuThreads, hidden: object) -> None:
    assert look(threads) == ThreadsView(hidden=hidden)


def fake(folder: Path, threads: dict[int, str], cpus: str = "0-1", mounts: str = MOUNTS) -> Path:
    """A folder like /proc with process 100: the NSpid of each of its threads."""
    (folder / "self").mkdir(parents=True)
    (folder / "self/mountinfo").write_text(mounts.format(root=folder))
    for number, own in threads.items():
        task = folder / "100/task" / str(number)
        task.mkdir(parents=True)
        (task / "status").write_text(f"Name:\tCPU (0) /KVM\nNSpid:\t{own}\nCpus_allowed_list:\t{cpus}\n")
        fields = ["S", *["0"] * 36, "7", "1", "0"]
        (task / "stat").write_text(f"{number} (CPU ) 0/KVM) {' '.join(fields)}\n")
        (task / "cgroup").write_text("1:cpu,cpuacct:/qemu/vcpu0\n0::/machine/qemu/vcpu0\n")
    return folder


def test_a_process_in_another_namespace_is_found_by_its_own_ids(tmp_path: Path) -> None:
    proc = fake(tmp_path, {100: "100\t1", 107: "107\t8"})
    assert host_ids(100, {0: 8, 1: 1, 2: 107}, proc) == {0: 107, 1: 100}


def test_the_nodes_are_those_with_cpus_of_the_pin(tmp_path: Path) -> None:
    proc = fake(tmp_path / "proc", {107: "107"}, cpus="2-3")
    for node, cpus in (("node0", "0-1"), ("node1", "2"), ("node12", "3-4"), ("node2", "\n")):
        (tmp_path / "sys/devices/system/node" / node).mkdir(parents=True)
        (tmp_path / "sys/devices/system/node" / node / "cpulist").write_text(cpus)
    view = look(VcpuThreads(100, {0: 107}), LocalThreads(proc, tmp_path / "sys"))
    assert view.host_nodes == {0: {1, 12}}
    assert view.placements == {0: Placement("2-3", "fifo:7", None)}, "without the group's file the bandwidth is unknown"


def test_the_bandwidth_is_that_of_version_1_where_it_has_the_controller(tmp_path: Path) -> None:
    task = fake(tmp_path, {107: "107"}) / "100/task/107"
    (tmp_path / "cpu/qemu/vcpu0").mkdir(parents=True)
    (tmp_path / "cpu/qemu/vcpu0/cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu/qemu/vcpu0/cpu.cfs_period_us").write_text("200000\n")
    assert Cgroups(tmp_path).bandwidth(task) == UNLIMITED
    (tmp_path / "cpu/qemu/vcpu0/cpu.cfs_quota_us").write_text("50000\n")
    assert Cgroups(tmp_path).bandwidth(task) == Bandwidth(50000, 200000)


def test_the_bandwidth_in_version_2_is_read_below_the_mount(tmp_path: Path) -> None:
    task = fake(tmp_path, {107: "107"}, mounts=MOUNTS.splitlines(keepends=True)[2]) / "100/task/107"
    group = tmp_path / "uni fied/qemu/vcpu0"
    group.mkdir(parents=True)
    assert Cgroups(tmp_path).bandwidth(task) == UNLIMITED
    (group / "cpu.max").write_text("max 100000\n")
    assert Cgroups(tmp_path).bandwidth(task) == UNLIMITED
    (group / "cpu.max").write_text("50000 200000\n")
    assert Cgroups(tmp_path).bandwidth(task) == Bandwidth(50000, 200000)
    (task / "cgroup").write_text("0::/elsewhere\n")
    assert Cgroups(tmp_path).bandwidth(task) is None
