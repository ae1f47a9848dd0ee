# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CPU bandwidth of threads, by the host's control groups: version 2, or the cpu controller of version 1."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.kernel_files import read_bytes, read_text
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import UNLIMITED, Bandwidth


class _Hierarchy(NamedTuple):
    """A mounted hierarchy that has, or can have, the cpu controller.

    ``root`` is the path in the hierarchy of the group that is mounted at ``mount``.
    """

    mount: Path
    root: str
    unified: bool


class Cgroups:
    """The control groups of this host's processes below ``proc``; the bandwidth of each group is read once."""

    def __init__(self, proc: Path) -> None:
        self._bandwidths: dict[Path, Bandwidth | None] = {}
        self._hierarchy = next(iter(_mounted(proc)), None)

    @property
    def unified(self) -> bool:
        """Whether the cpu controller is one of version 2."""
        return self._hierarchy is not None and self._hierarchy.unified

    def group(self, folder: Path | str) -> Path | None:
        """Return the group of the thread or process in ``folder`` of /proc; None if it is not visible here."""
        return None if self._hierarchy is None else _group(self._hierarchy, folder)

    def bandwidth(self, folder: Path | str) -> Bandwidth | None:
        """Return the bandwidth of the thread or process in ``folder`` of /proc; None if it cannot be read."""
        group = self.group(folder)
        if group is None:
            return None
        if group not in self._bandwidths:
            self._bandwidths[group] = _bandwidth_of(group, self.unified)
        return self._bandwidths[group]


def lacks_real_time(group: Path) -> bool:
    """Whether a group of version 1 has no time for real-time schedulers; only some kernels limit that by group."""
    with contextlib.suppress(OSError):
        return read_text(f"{group}/cpu.rt_runtime_us").strip() == "0"
    return False


def _mounted(proc: Path) -> list[_Hierarchy]:
    """The hierarchies, that of the cpu controller of version 1 first: it is then not in the unified one."""
    found: list[_Hierarchy] = []
    with contextlib.suppress(OSError):
        for line in _lines(f"{proc}/self/mountinfo"):
            before, _dash, after = line.partition(" - ")
            fields, options = before.split(), after.split()
            unified = options[0] == "cgroup2"
            if unified or (options[0] == "cgroup" and "cpu" in options[2].split(",")):
                found.append(_Hierarchy(Path(_unescaped(fields[4])), _unescaped(fields[3]), unified))
    return sorted(found, key=lambda hierarchy: hierarchy.unified)


def _lines(path: str) -> list[str]:
    return read_bytes(path).decode("utf-8", "surrogateescape").splitlines()


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def _group(hierarchy: _Hierarchy, folder: Path | str) -> Path | None:
    """The group of a thread in a hierarchy, None if it is not below the mount."""
    with contextlib.suppress(OSError):
        for line in _lines(f"{folder}/cgroup"):
            number, _colon, rest = line.partition(":")
            controllers, _colon, path = rest.partition(":")
            if (number == "0") if hierarchy.unified else ("cpu" in controllers.split(",")):
                root = hierarchy.root.rstrip("/")
                inside = path == root or path.startswith(f"{root}/")
                return hierarchy.mount / path[len(root) :].lstrip("/") if inside else None
    return None


def _bandwidth_of(group: Path, unified: bool) -> Bandwidth | None:
    with contextlib.suppress(OSError, ValueError):
        return _unified(group) if unified else _version_1(group)
    return None


def _unified(group: Path) -> Bandwidth:
    """Without the controller in the group, and in the root group, nothing limits it."""
    try:
        quota, period = read_text(f"{group}/cpu.max").split()
    except FileNotFoundError:
        return UNLIMITED
    return UNLIMITED if quota == "max" else Bandwidth(int(quota), int(period))


def _version_1(group: Path) -> Bandwidth:
    quota = int(read_text(f"{group}/cpu.cfs_quota_us"))
    return UNLIMITED if quota < 0 else Bandwidth(quota, int(read_text(f"{group}/cpu.cfs_period_us")))
