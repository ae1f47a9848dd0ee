# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit the CPU time of a vCPU's thread, in a threaded control group of its own below that of QEMU (version 2)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.cgroups import Cgroups
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import PLACEMENT_FAILED, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import UNLIMITED

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.placement import Bandwidth

_OWN_GROUP = "start QEMU in a control group of its own, as with systemd-run --scope --property=Delegate=cpu"
_DEFAULT_PERIOD = 100000


def limit(vcpu: int, pid: int, thread: int, bandwidth: Bandwidth, proc: Path) -> None:
    """Move ``thread`` of process ``pid`` into the group vcpuN, with this bandwidth, and create that if necessary.

    Raises ``HotplugError`` (placement_failed). Other processes are never affected: QEMU must be alone in its group.
    """
    parent = _group_of_qemu(pid, proc)
    child = parent / f"vcpu{vcpu}"
    quota = "max" if bandwidth == UNLIMITED else str(bandwidth.quota)
    try:
        with contextlib.suppress(FileExistsError):
            child.mkdir()
        if _words(child / "cgroup.type") != ["threaded"]:
            _write(child / "cgroup.type", "threaded")
        if "cpu" not in _words(parent / "cgroup.subtree_control"):
            _write(parent / "cgroup.subtree_control", "+cpu")
        # Before the thread is moved, so that it never runs there without the limit.
        _write(child / "cpu.max", f"{quota} {bandwidth.period or _DEFAULT_PERIOD}")
        _write(child / "cgroup.threads", str(thread))
    except OSError as error:
        raise _failed(f"{child} cannot be used: {error.strerror}", f"run the task as root, or {_OWN_GROUP}") from None


def _group_of_qemu(pid: int, proc: Path) -> Path:
    """The group of the process, where a threaded group can be created for each vCPU."""
    cgroups = Cgroups(proc)
    if not cgroups.unified:
        raise _failed(
            "the cpu controller of this host is not one of control groups version 2", "boot it with version 2"
        )
    group = cgroups.group(proc / str(pid))
    if group is None:
        raise _failed("the control group of QEMU cannot be found", "run the task on the hypervisor itself")
    try:
        members = _words(group / "cgroup.procs")
        controllers = _words(group / "cgroup.controllers")
    except OSError as error:
        raise _failed(f"the control group {group} cannot be read: {error.strerror}", "run the task as root") from None
    if members != [str(pid)]:
        raise _failed(f"QEMU shares the control group {group} with other processes", _OWN_GROUP)
    if "cpu" not in controllers:
        raise _failed(f"the control group {group} has no cpu controller", _OWN_GROUP)
    return group


def _words(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").split()


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii")


def _failed(reason: str, remedy: str) -> HotplugError:
    return HotplugError(
        PLACEMENT_FAILED, f"its period and quota cannot be set, because {reason}; {remedy}, or use cputune: ignore"
    )
