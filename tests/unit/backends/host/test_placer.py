# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Threads placed by the kernel of this host, and the control group of a limit in folders like those of version 2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host import bandwidth
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.placer import HostPlacer
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import UNLIMITED, Bandwidth, Placement
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads

from ...support.queries import run

OWN_FILES = {"cgroup.type": "domain\n", "cpu.max": "max 100000\n", "cgroup.threads": ""}


def place(placement: Placement, pid: int, thread: int, placer: HostPlacer | None = None) -> str:
    """Place the thread of vCPU 5; return the message of the error, or nothing."""
    error: HotplugError | None = None
    try:
        run(lambda: (placer or HostPlacer()).place(5, VcpuThreads(pid, {5: thread}), placement))
    except HotplugError as caught:
        error = caught
    assert error is None or error.code == "placement_failed"
    return "" if error is None else error.msg


def test_affinity_and_scheduler_are_set(thread: int) -> None:
    cpus = os.sched_getaffinity(thread)
    for pin in ({min(cpus)}, {max(cpus)}, cpus):
        assert place(Placement(format_cpulist(pin), "batch"), os.getpid(), thread) == ""
        assert (os.sched_getaffinity(thread), os.sched_getscheduler(thread)) == (pin, os.SCHED_BATCH)
    assert place(Placement(f"{min(cpus)},65000"), os.getpid(), thread) == ""
    assert os.sched_getaffinity(thread) == {min(cpus)}
    assert place(Placement(scheduler="idle"), os.getpid(), thread) == ""
    assert os.sched_getscheduler(thread) == os.SCHED_IDLE


def test_a_thread_of_another_process_is_never_placed(thread: int) -> None:
    before = os.sched_getscheduler(thread)
    assert place(Placement(scheduler="batch"), os.getppid(), thread).startswith("its thread was not found")
    assert place(Placement(scheduler="batch"), os.getpid(), 2**22 + 1).startswith("its thread was not found")
    assert os.sched_getscheduler(thread) == before


@pytest.mark.parametrize(
    ("placement", "reason"),
    [
        (Placement("65000"), "host CPU 65000 is offline or does not exist; bring it online"),
        (Placement(scheduler="fifo:0"), "its scheduler cannot be set to fifo:0"),
        (Placement(scheduler="deadline"), "its scheduler cannot be set to deadline"),
    ],
)
def test_what_the_kernel_refuses_has_a_reason_and_a_remedy(thread: int, placement: Placement, reason: str) -> None:
    message = place(placement, os.getpid(), thread)
    assert message.startswith(reason)
    assert message.endswith("or use cputune: ignore")


def test_a_missing_permission_is_named(thread: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    pin = format_cpulist(os.sched_getaffinity(0))
    assert "because this user may not; run the task as root" in place(Placement(pin), os.getpid(), thread)


@pytest.mark.parametrize(
    ("time", "reason"), [("0", "has no time for real-time schedulers"), ("95", "this user may not")]
)
def test_a_group_without_time_for_real_time_schedulers_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time: str, reason: str
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    host = Host(tmp_path, "cgroup")
    host.set("cpu.rt_runtime_us", f"{time}\n")
    assert reason in place(Placement(scheduler="fifo:2"), 100, 107, HostPlacer(host.proc))
    assert "this user may not" in place(Placement(scheduler="batch"), 100, 107, HostPlacer(host.proc))


class Host:
    """A /proc with process 100, whose thread 107 is vCPU 5, and a mounted version 2 with the group /qemu."""

    def __init__(self, folder: Path, kind: str = "cgroup2") -> None:
        self.proc, self.group = folder / "proc", folder / "mount/qemu"
        self.writes: list[str] = []
        for task, name in (("", "100"), ("/task/107", "107")):
            (self.proc / f"100{task}").mkdir(parents=True)
            (self.proc / f"100{task}/status").write_text(f"NSpid:\t{name}\n")
            (self.proc / f"100{task}/cgroup").write_text("0::/qemu\n1:cpu:/qemu\n")
        (self.proc / "self").mkdir()
        (self.proc / "self/mountinfo").write_text(f"41 31 0:38 / {folder}/mount rw - {kind} {kind} rw,cpu\n")
        self.group.mkdir(parents=True)
        self.set("cgroup.procs", "100\n")
        self.set("cgroup.controllers", "cpu memory\n")
        self.set("cgroup.subtree_control", "")

    def set(self, name: str, text: str) -> None:
        (self.group / name).write_text(text)

    def place(self, limit: Bandwidth) -> str:
        return place(Placement(bandwidth=limit), 100, 107, HostPlacer(self.proc))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose new groups have files, and that records what is written to them."""
    made = Host(tmp_path)
    mkdir, write = Path.mkdir, bandwidth._write

    def make_group(self: Path) -> None:
        mkdir(self)
        for name, text in OWN_FILES.items():
            (self / name).write_text(text)

    def note(path: Path, text: str) -> None:
        made.writes.append(f"{path.relative_to(made.group)}: {text}")
        write(path, text)

    monkeypatch.setattr(Path, "mkdir", make_group)
    monkeypatch.setattr(bandwidth, "_write", note)
    return made


def test_a_limit_is_set_before_the_thread_is_moved_into_its_threaded_group(host: Host) -> None:
    assert host.place(Bandwidth(50000, 100000)) == ""
    assert host.writes == [
        "kvm.hotplug-vcpu5/cgroup.type: threaded",
        "cgroup.subtree_control: +cpu",
        "kvm.hotplug-vcpu5/cpu.max: 50000 100000",
        "kvm.hotplug-vcpu5/cgroup.threads: 107",
    ]


def test_a_group_that_is_there_is_used_again(host: Host) -> None:
    assert host.place(Bandwidth(50000, 100000)) == ""
    host.set("cgroup.subtree_control", "cpu\n")
    host.writes.clear()
    assert host.place(UNLIMITED) == ""
    assert host.writes == ["kvm.hotplug-vcpu5/cpu.max: max 100000", "kvm.hotplug-vcpu5/cgroup.threads: 107"]


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("cgroup.procs", "1\n100\n", "shares the control group"),
        ("cgroup.procs", "", "shares the control group"),
        ("cgroup.controllers", "memory\n", "has no cpu controller"),
    ],
)
def test_a_group_that_is_not_qemus_own_is_left_alone(host: Host, file: str, text: str, reason: str) -> None:
    host.set(file, text)
    message = host.place(Bandwidth(50000, 100000))
    assert reason in message
    assert "start QEMU in a control group of its own" in message
    assert host.writes == []
    assert not (host.group / "kvm.hotplug-vcpu5").exists()


def test_a_control_group_that_is_not_mounted_here_is_an_error(host: Host) -> None:
    (host.proc / "self/mountinfo").write_text("")
    assert "the control group of QEMU cannot be found" in host.place(Bandwidth(50000, 100000))


def test_version_1_limits_a_thread_beside_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, "cgroup")
    host.set("cgroup.procs", "1\n100\n")
    monkeypatch.setattr(bandwidth, "_write", lambda path, text: host.writes.append(f"{path.name}: {text}"))
    for left in ("kvm.hotplug-99-vcpu5", "kvm.hotplug-100-vcpu1", "vcpu5"):
        (host.group / left).mkdir()
    assert host.place(Bandwidth(50000, 200000)) == ""
    assert host.writes == [
        "cpu.cfs_quota_us: -1",
        "cpu.cfs_period_us: 200000",
        "cpu.cfs_quota_us: 50000",
        "tasks: 107",
    ]
    host.writes.clear()
    assert host.place(UNLIMITED) == ""
    assert host.writes == ["cpu.cfs_quota_us: -1", "tasks: 107"]
    groups = sorted(path.name for path in host.group.iterdir() if path.is_dir())
    assert groups == ["kvm.hotplug-100-vcpu1", "kvm.hotplug-100-vcpu5", "vcpu5"], (
        "only that of process 99 is not needed"
    )


def test_a_group_of_version_1_that_cannot_be_used_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, "cgroup")

    def refuse(_path: Path, _text: str) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(bandwidth, "_write", refuse)
    assert "cannot be used: Invalid argument" in host.place(Bandwidth(50000, 100000))
    assert not list(host.group.glob("kvm.hotplug-*"))


def test_only_the_own_group_of_an_unplugged_vcpu_is_removed(tmp_path: Path) -> None:
    host = Host(tmp_path, "cgroup")
    groups = ["kvm.hotplug-100-vcpu5", "kvm.hotplug-100-vcpu50", "kvm.hotplug-99-vcpu5", "vcpu5"]
    for name in groups:
        (host.group / name).mkdir()
    placer = HostPlacer(host.proc)
    for threads in (VcpuThreads(), VcpuThreads(98), VcpuThreads(100), VcpuThreads(100)):
        run(lambda threads=threads: placer.release(5, threads))
    assert sorted(path.name for path in host.group.iterdir() if path.is_dir()) == groups[1:]
