# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open, lock and read a file that several runs may change, together with its folder, resolving its path only once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.regular_file import (
    READING,
    closing,
    opening,
    read_open,
    refuse_other_kinds,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_LOCKED, HotplugError, printable

_POLL = 0.02
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY


class LockedFile(NamedTuple):
    """A locked file with its content at the time of reading.

    ``folder`` and ``descriptor`` are open while it is locked; ``path`` is for messages.
    """

    path: str
    folder: int
    name: str
    descriptor: int
    data: bytes
    status: os.stat_result

    def is_in_place(self) -> bool:
        """Whether its name still refers to this file."""
        try:
            there = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (self.status.st_dev, self.status.st_ino)

    def is_unchanged(self) -> bool:
        """Whether it is unchanged since it was read."""
        now = os.fstat(self.descriptor)
        return (now.st_mtime_ns, now.st_size) == (self.status.st_mtime_ns, self.status.st_size)


@contextlib.contextmanager
def locked(path: str, limit: int, timeout: float, ended: threading.Event | None = None) -> Iterator[LockedFile]:
    """Lock the file against other runs for a ``with`` block, and yield its content.

    Waits for the lock until ``timeout`` seconds have passed or the run has ``ended``.

    The lock is on the file itself, so no lock file remains. A replacement is a new file: a run that waited for the lock
    of the old file then opens the new one.
    """
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.ExitStack() as opened:
            with opening(path):
                # The target of a link is replaced, never the link.
                folder_path, name = os.path.split(os.path.realpath(path))
                folder = opened.enter_context(closing(os.open(folder_path, _FOLDER)))
                descriptor = opened.enter_context(closing(os.open(name, READING | os.O_NOFOLLOW, dir_fd=folder)))
                refuse_other_kinds(path, descriptor)
            target = os.path.join(folder_path, name)
            _lock(target, descriptor, deadline, timeout, ended or threading.Event())
            held = LockedFile(target, folder, name, descriptor, b"", os.fstat(descriptor))
            if held.is_in_place():
                with opening(path):
                    held = held._replace(data=read_open(descriptor, limit))
                yield held
                return


def _lock(path: str, descriptor: int, deadline: float, timeout: float, ended: threading.Event) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise HotplugError(
                    CONFIG_LOCKED,
                    f"{path} is still locked by {_holder(descriptor)} after {timeout:g} seconds: wait for it to end, "
                    "or raise timeout",
                ) from None
            if ended.wait(_POLL):
                raise HotplugError(CONFIG_LOCKED, f"the run ended while it waited for the lock of {path}") from None
        except OSError as error:
            raise HotplugError(
                CONFIG_LOCKED,
                f"{path} cannot be locked ({error.strerror}): move it to a file system that supports locks",
            ) from None


def _holder(descriptor: int) -> str:
    """Name the process that holds the lock, if it is known."""
    status = os.fstat(descriptor)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines():
            found = re.match(r"\d+: FLOCK +\S+ +\S+ +(\d+) (\S+) ", line)
            if found and found.group(2) == place and found.group(1) != "0":
                pid = found.group(1)
                with contextlib.suppress(OSError):
                    name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace")
                    return f"process {pid} ({printable(name, 40)})"
                return f"process {pid}"
    return "another process"
