# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open and read a regular file, up to a limit."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, GUEST_NOT_FOUND, HotplugError

# Without O_NONBLOCK, opening a FIFO would wait for a process that writes to it.
READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def read(path: str, limit: int) -> bytes:
    """Return the file's bytes, at most one more than ``limit``."""
    with opening(path), closing(os.open(path, READING)) as descriptor:
        refuse_other_kinds(path, descriptor)
        return read_open(descriptor, limit)


@contextlib.contextmanager
def opening(path: str) -> Iterator[None]:
    """Turn errors of opening and reading into ``HotplugError``: guest_not_found, config_invalid."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise HotplugError(
            GUEST_NOT_FOUND, f"there is no file {path}: name the file with the guest's domain XML"
        ) from None
    except OSError as error:
        raise HotplugError(
            CONFIG_INVALID, f"{path} cannot be read ({error.strerror}): run the task as a user who may read it"
        ) from None


@contextlib.contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """Close a file at the end of the block."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def refuse_other_kinds(path: str, descriptor: int) -> None:
    """Refuse (config_invalid) anything but a regular file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise HotplugError(CONFIG_INVALID, f"{path} is not a regular file: name the file with the domain XML")


def read_open(descriptor: int, limit: int) -> bytes:
    """Return the bytes of an open file, at most one more than ``limit``."""
    parts: list[bytes] = []
    length = 0
    while length <= limit:
        part = os.read(descriptor, min(1 << 20, limit + 1 - length))
        if not part:
            break
        parts.append(part)
        length += len(part)
    return b"".join(parts)
