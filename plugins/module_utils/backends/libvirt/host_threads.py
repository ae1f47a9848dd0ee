# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads of a QEMU on this host, by which the host's kernel shows its vCPUs."""

from __future__ import annotations

import re
from pathlib import Path

PROC = Path("/proc")

# libvirt has QEMU name its threads, after the vCPU's index and the accelerator.
_VCPU = re.compile(r"CPU (\d{1,6})/[A-Za-z]+")
_ALL_IN_ONE = "ALL CPUs/"


def vcpus_of(uuid: str, proc: Path = PROC) -> frozenset[int] | None:
    """Return the vCPUs of the guest that have a thread here; None if it does not run here, or if they share one."""
    process = process_of(uuid, proc)
    if process is None:
        return None
    found: set[int] = set()
    try:
        for thread in (process / "task").iterdir():
            name = (thread / "comm").read_text(encoding="ascii", errors="replace").strip()
            match = _VCPU.fullmatch(name)
            if name.startswith(_ALL_IN_ONE):
                return None
            if match is not None:
                found.add(int(match.group(1)))
    except OSError:
        # A thread ended while we looked, or we may not look: whoever asks has other signs.
        return None
    return frozenset(found) or None


def process_of(uuid: str, proc: Path) -> Path | None:
    """Return the folder in ``proc`` of the QEMU that libvirt started with this UUID, None if it is not on this host."""
    wanted = [b"-uuid", uuid.encode()]
    try:
        processes = [entry for entry in proc.iterdir() if entry.name.isdecimal()]
    except OSError:
        return None
    for process in processes:
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in ([words[at], words[at + 1]] for at in range(len(words) - 1) if words[at] == b"-uuid"):
            return process
    return None
