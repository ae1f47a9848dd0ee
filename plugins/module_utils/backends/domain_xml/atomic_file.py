# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that several runs change and any of them may die over: read, locked, and replaced in one piece."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFIG_INVALID,
    CONFIG_LOCKED,
    GUEST_NOT_FOUND,
    HotplugError,
    printable,
)

_POLL = 0.02
_MARK = ".kvm-hotplug-"
_NAME_LIMIT = 200


class Held(NamedTuple):
    """A file that is locked, as it was when it was read."""

    path: str
    data: bytes
    status: os.stat_result


def read(path: str, limit: int) -> bytes:
    """Return the file's bytes, at most one more than ``limit``."""
    with _opened(path) as descriptor:
        return _read(path, descriptor, limit)


@contextlib.contextmanager
def locked(path: str, limit: int, timeout: float) -> Iterator[Held]:
    """Keep other runs from changing the file while the block lasts, and give what it holds.

    The lock is on the file itself, so nothing is left lying beside it. Replacing a file makes another of it:
    whoever waited for the old one looks again.
    """
    deadline = time.monotonic() + timeout
    while True:
        # Others see the target replaced, never the link.
        target = os.path.realpath(path)
        with _opened(target) as descriptor:
            _lock(target, descriptor, deadline, timeout)
            status = os.fstat(descriptor)
            if _is_at(target, status):
                yield Held(target, _read(target, descriptor, limit), status)
                return


def replace(held: Held, data: bytes, backup: bool) -> str | None:
    """Put ``data`` in the place of a locked file, whole or not at all; return the path of the copy of the old one."""
    folder = os.path.dirname(held.path)
    copy = None
    temporary = None
    try:
        _remove_stale(held.path)
        temporary = _write(held, data)
        if backup:
            copy = _back_up(held)
        if not _is_at(held.path, held.status) or _has_changed(held):
            raise HotplugError(
                CONFIG_LOCKED,
                f"{held.path} was changed by something that does not lock it while it was being written, so it was "
                "left alone: run the task again",
            )
        os.replace(temporary, held.path)
    except BaseException as error:
        for leftover in (temporary, copy):
            if leftover is not None:
                with contextlib.suppress(OSError):
                    os.unlink(leftover)
        if isinstance(error, OSError):
            raise HotplugError(
                CONFIG_INVALID,
                f"{held.path} cannot be replaced ({error.strerror}), so it was left alone: let this user write to "
                f"{folder}, and see that there is room",
            ) from None
        raise
    # What is in place stays in place: a directory that cannot be synchronised is no failure of ours.
    with contextlib.suppress(OSError):
        _synchronise(folder)
    return copy


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        # A FIFO would otherwise keep us waiting for somebody to write to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise HotplugError(
            GUEST_NOT_FOUND, f"there is no file {path}: name the file that holds the guest's domain XML"
        ) from None
    except OSError as error:
        raise HotplugError(
            CONFIG_INVALID, f"{path} cannot be read ({error.strerror}): run the task as a user who may read it"
        ) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise HotplugError(CONFIG_INVALID, f"{path} is not a regular file: name the file that holds the domain XML")
        yield descriptor
    finally:
        os.close(descriptor)


def _read(path: str, descriptor: int, limit: int) -> bytes:
    parts: list[bytes] = []
    length = 0
    try:
        while length <= limit:
            part = os.read(descriptor, min(1 << 20, limit + 1 - length))
            if not part:
                break
            parts.append(part)
            length += len(part)
    except OSError as error:
        raise HotplugError(CONFIG_INVALID, f"{path} cannot be read ({error.strerror})") from None
    return b"".join(parts)


def _lock(path: str, descriptor: int, deadline: float, timeout: float) -> None:
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
            time.sleep(_POLL)
        except OSError as error:
            raise HotplugError(
                CONFIG_LOCKED, f"{path} cannot be locked ({error.strerror}): keep it on a file system with locks"
            ) from None


def _holder(descriptor: int) -> str:
    """Name the process that holds the lock, if this system tells."""
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


def _is_at(path: str, status: os.stat_result) -> bool:
    try:
        there = os.stat(path)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino)


def _has_changed(held: Held) -> bool:
    there = os.stat(held.path)
    return (there.st_mtime_ns, there.st_size) != (held.status.st_mtime_ns, held.status.st_size)


def _prefix(path: str) -> str:
    """How the names of temporary files for this one begin; a name near the limit is told by its hash."""
    name = os.path.basename(path)
    if len(os.fsencode(name)) > _NAME_LIMIT:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}{_MARK}"


def _remove_stale(path: str) -> None:
    """Remove what killed runs left behind; whoever holds the lock is the only one to have such a file in use."""
    prefix = _prefix(path)
    with os.scandir(os.path.dirname(path)) as entries:
        stale = [entry.path for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(".tmp")]
    for leftover in stale:
        with contextlib.suppress(OSError):
            os.unlink(leftover)


def _write(held: Held, data: bytes) -> str:
    descriptor, temporary = tempfile.mkstemp(".tmp", _prefix(held.path), os.path.dirname(held.path))
    try:
        with open(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            _dress(held, handle.fileno())
            os.fsync(handle.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return temporary


def _back_up(held: Held) -> str:
    """Keep the old bytes under the name that Ansible's own modules give to backups."""
    while True:
        moment = time.strftime("%Y-%m-%d@%H:%M:%S~", time.localtime())
        copy = f"{held.path}.{os.getpid()}.{moment}"
        if not os.path.lexists(copy):
            break
        time.sleep(_POLL)
    temporary = _write(held, held.data)
    os.utime(temporary, ns=(held.status.st_atime_ns, held.status.st_mtime_ns))
    os.rename(temporary, copy)
    return copy


def _dress(held: Held, descriptor: int) -> None:
    """Give a new file the owner, group, mode and extended attributes (SELinux's among them) of the old one."""
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (held.status.st_uid, held.status.st_gid):
        try:
            os.fchown(descriptor, held.status.st_uid, held.status.st_gid)
        except PermissionError:
            raise HotplugError(
                CONFIG_INVALID,
                f"the owner and group of {held.path} could not be kept, so it was left alone: run the task as root "
                "(become), or as its owner and in its group",
            ) from None
    os.fchmod(descriptor, stat.S_IMODE(held.status.st_mode))
    passing = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA, errno.EINVAL)
    try:
        for name in os.listxattr(held.path):
            try:
                os.setxattr(descriptor, name, os.getxattr(held.path, name))
            except OSError as error:
                if error.errno not in passing:
                    raise
    except OSError as error:
        if error.errno not in passing:
            raise


def _synchronise(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
