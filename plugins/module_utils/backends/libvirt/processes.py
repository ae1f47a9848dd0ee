# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The QEMU processes of this host that libvirt started, by the UUID of the guest."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.kernel_files import read_bytes

PROC = Path("/proc")

# All processes are read for a guest: with a host full of guests, not for each of them.
FRESH_SECONDS = 1.0


class Processes:
    """The processes below ``proc``."""

    def __init__(self, proc: Path = PROC) -> None:
        self.proc = proc
        self._by_uuid: dict[str, list[Path]] = {}
        self._expires = 0.0

    def of(self, uuid: str) -> Path | None:
        """Return the folder in ``proc`` of the QEMU with this UUID, None if it is not on this host.

        None too if there are several: another user can start a process with the same arguments.
        """
        if time.monotonic() > self._expires or not self._has_still(uuid):
            self._by_uuid = self._read()
            self._expires = time.monotonic() + FRESH_SECONDS
        found = self._by_uuid.get(uuid, [])
        return found[0] if len(found) == 1 else None

    def _has_still(self, uuid: str) -> bool:
        """Whether the one process that was read for this guest is still its own; it may have been started since."""
        found = self._by_uuid.get(uuid, [])
        return len(found) == 1 and uuid in _uuids(found[0])

    def _read(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        try:
            folders = [self.proc / name for name in os.listdir(self.proc) if name.isdecimal()]
        except OSError:
            return found
        for folder in folders:
            for uuid in set(_uuids(folder)):
                found.setdefault(uuid, []).append(folder)
        return found


def _uuids(process: Path) -> Iterator[str]:
    """The values of ``-uuid`` in the arguments of a process; none of one that has ended."""
    try:
        words = read_bytes(f"{process}/cmdline").split(b"\0")
    except OSError:
        return
    for option, value in zip(words, words[1:]):
        if option == b"-uuid":
            yield value.decode("ascii", errors="replace")


# Of this host, for all guests.
HERE = Processes()
