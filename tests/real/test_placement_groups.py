# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The control groups that limit the CPU time of vCPUs, in the real hierarchies of this host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.placer import HostPlacer
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads
from lab import observer
from lab.ospm import OspmGuest

from .conftest import BootOspm
from .support.modules import Vcpu
from .test_placement import MACHINE, domain_xml, where

LIMIT = "<period>50000</period><quota>25000</quota>"
FIFO = "<vcpusched vcpus='3' scheduler='fifo' priority='2'/>"


def version_1_group(process: str) -> Path | None:
    """The group of a process or thread in the cpu hierarchy of version 1; None if this host has none or hides it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    mount = next((line[1] for line in mounts if line[2] == "cgroup" and "cpu" in line[3].split(",")), None)
    groups = [line.split(":", 2) for line in Path(f"/proc/{process}/cgroup").read_text().splitlines()]
    path = next((group[2] for group in groups if "cpu" in group[1].split(",")), "")
    return Path(mount + path) if mount is not None and Path(mount + path).is_dir() else None


def test_a_limit_is_set_in_a_group_of_version_1_and_elsewhere_only_if_qemu_is_alone_in_its_group(
    boot_ospm: BootOspm, tmp_path: Path
) -> None:
    guest = boot_ospm(**MACHINE)
    vcpu = Vcpu(guest, domain_xml(tmp_path, LIMIT))
    plug = {"vcpus": [{"id": "3", "state": "enabled"}], "scope": "live"}
    shared = version_1_group("self")
    if shared is None or not os.access(shared, os.W_OK):
        failed = vcpu(**plug)
        assert (failed["error_code"], failed.steps[1]) == ("placement_failed", "place 3 failed")
        assert "period and quota cannot be set" in failed["msg"]
        return
    try:
        vcpu.converges([0, 1, 3], **plug)
        threads = {one: observer.thread_of(guest.observer, one) for one in (0, 1, 3)}
        groups = {one: version_1_group(str(thread)) for one, thread in threads.items()}
        for one, group in groups.items():
            assert group is not None
            assert group.parent == shared
            assert (group / "tasks").read_text().split() == [str(threads[one])], "a group has another thread"
            assert (group / "cpu.cfs_quota_us").read_text() == "25000\n"
            assert (group / "cpu.cfs_period_us").read_text() == "50000\n"
        (shared / "tasks").write_text(str(threads[3]))
        assert vcpu.info()["drift"]["placement"] == "3"
        assert vcpu.converges([0, 1, 3], count=3, scope="live").steps == ["place 3 done"]
        assert version_1_group(str(threads[3])) == groups[3]
        vcpu.converges([0, 1], count=2, scope="live")
        assert sorted(own_groups(shared, guest)) == sorted([groups[0], groups[1]]), "the group of vCPU 3 is left"
    finally:
        end(guest, shared)


def own_groups(shared: Path, guest: OspmGuest) -> list[Path]:
    return list(shared.glob(f"kvm.hotplug-{guest.pid}-*"))


def end(guest: OspmGuest, shared: Path) -> None:
    """End a guest and remove its groups, which only another placement would remove."""
    groups = own_groups(shared, guest)
    guest.kill()
    for group in groups:
        for _try in range(100):
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.01)


@pytest.mark.parametrize("first", ["", FIFO], ids=["with the limit", "before the limit"])
def test_a_real_time_scheduler_needs_time_in_the_group_of_the_limit(
    boot_ospm: BootOspm, tmp_path: Path, first: str
) -> None:
    """Of kernels with real-time group scheduling, which give a new group of version 1 no time for it."""
    shared = version_1_group("self")
    if shared is None or not os.access(shared, os.W_OK):
        pytest.skip("this user has no control group of version 1 with the cpu controller")
    if not (shared / "cpu.rt_runtime_us").exists():
        pytest.skip("this kernel does not limit real-time schedulers by control group")
    guest = boot_ospm(**MACHINE, paused=True)
    options = {"vcpus": [{"id": "3", "state": "enabled"}], "scope": "live"}
    try:
        placed = Vcpu(guest, domain_xml(tmp_path, first))(**options)
        if first and placed.get("error_code"):
            pytest.skip(f"this user may not use real-time schedulers: {placed['msg']}")
        vcpu = Vcpu(guest, domain_xml(tmp_path, LIMIT + FIFO))
        failed = vcpu(**options)
        assert failed["error_code"] == "placement_failed"
        group = shared / f"kvm.hotplug-{guest.pid}-vcpu3"
        assert f"the control group {group} has no time for real-time schedulers" in failed["msg"]
        assert "write a time in microseconds to that file" in failed["msg"]
        try:
            (group / "cpu.rt_runtime_us").write_text("1000")
        except OSError as error:
            pytest.skip(f"the groups above have no time left for real-time schedulers: {error}")
        assert vcpu(**options).get("error_code") is None
        assert where(guest, 3)[1] == "fifo:2"
        assert (group / "tasks").read_text().split() == [str(observer.thread_of(guest.observer, 3))]
        assert vcpu(check=True, **options).steps == []
    finally:
        end(guest, shared)


def test_a_group_of_version_2_is_removed_when_its_thread_has_ended(tmp_path: Path) -> None:
    """In the host's own hierarchy, in which a group stays as long as a thread is in it."""
    own = os.getpid()
    group = version_2_group(own)
    if group is None or not os.access(group, os.W_OK):
        pytest.skip("this user has no control group of version 2")
    # Only that hierarchy: version 1 would be used if it has the cpu controller.
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text("\n".join(line for line in mounts if " - cgroup2 " in line))
    with subprocess.Popen(["sleep", "60"]) as process, contextlib.ExitStack() as cleanup:
        qemu = group / f"kvm.hotplug-test-{own}"
        child = qemu / "kvm.hotplug-vcpu5"
        other = qemu / "vcpu5"
        for one in (qemu, child, other):
            one.mkdir()
            cleanup.callback(remove, one)
        cleanup.callback(process.kill)
        (qemu / "cgroup.procs").write_text(str(process.pid))
        for one in (child, other):
            (one / "cgroup.type").write_text("threaded")
        (child / "cgroup.threads").write_text(str(process.pid))
        (tmp_path / str(process.pid)).mkdir()
        (tmp_path / str(process.pid) / "cgroup").write_text(f"0::{hierarchy_path(own)}/{qemu.name}\n")
        placer, threads = HostPlacer(tmp_path), VcpuThreads(process.pid, {5: process.pid})
        asyncio.run(placer.release(5, threads))
        assert child.exists(), "a thread is in it"
        process.kill()
        process.wait()
        asyncio.run(placer.release(5, threads))
        assert not child.exists()
        assert other.exists(), "it is not ours"


def version_2_group(process: int) -> Path | None:
    """The group of a process in the hierarchy of version 2; None if this host has none or hides it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    mount = next((line[1] for line in mounts if line[2] == "cgroup2"), None)
    group = None if mount is None else Path(mount + hierarchy_path(process))
    return group if group is not None and group.is_dir() else None


def hierarchy_path(process: int) -> str:
    lines = Path(f"/proc/{process}/cgroup").read_text().splitlines()
    return next((line[3:] for line in lines if line.startswith("0::")), "/").rstrip("/")


def remove(group: Path) -> None:
    if group.exists():
        group.rmdir()
