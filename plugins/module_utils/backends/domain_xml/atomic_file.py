# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace a locked file atomically: if a run is killed at any moment, the file is the old one or the new one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, CONFIG_LOCKED, HotplugError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.locked_file import LockedFile

_POLL = 0.02
_MARK = ".kvm-hotplug-"
_NAME_LIMIT = 200
_CREATING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_ACCESS_LIST = "system.posix_acl_access"
# Errors of a file system, or of a user, that may not have attributes that do not affect access.
_DISPENSABLE = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA, errno.EINVAL)


def replace(held: LockedFile, data: bytes, backup: bool) -> str | None:
    """Replace a locked file with ``data``, completely or not at all; return the path of the copy of the old file.

    Everything is done in the open folder, even if its path has changed since. Raises ``HotplugError``: config_invalid
    if that fails, config_locked if another process changed the file without locking it.
    """
    copy = None
    with _reporting(held), contextlib.ExitStack() as leftovers:
        _remove_stale(held)
        temporary = _write(held, data, leftovers)
        if backup:
            copy = _back_up(held, leftovers)
        if not (held.is_in_place() and held.is_unchanged()):
            raise HotplugError(
                CONFIG_LOCKED,
                f"another process that does not lock {held.path} changed it during the write, so it was not replaced: "
                "run the task again",
            )
        os.replace(temporary, held.name, src_dir_fd=held.folder, dst_dir_fd=held.folder)
        leftovers.pop_all()
    # The file is in place; a folder that cannot be synchronised is not an error.
    with contextlib.suppress(OSError):
        os.fsync(held.folder)
    return None if copy is None else os.path.join(os.path.dirname(held.path), copy)


@contextlib.contextmanager
def _reporting(held: LockedFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HotplugError(
            CONFIG_INVALID,
            f"{held.path} cannot be replaced ({error.strerror}), so it was not changed: let this user write to "
            f"{os.path.dirname(held.path)}, and check the free space",
        ) from None


def _remove(held: LockedFile, name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=held.folder)


def _prefix(held: LockedFile) -> str:
    """The prefix of the names of temporary files; for a name near the limit it contains a hash."""
    name = held.name
    if len(os.fsencode(name)) > _NAME_LIMIT:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}{_MARK}"


def _remove_stale(held: LockedFile) -> None:
    """Remove temporary files of killed runs: only the run that holds the lock uses such files."""
    prefix = _prefix(held)
    with os.scandir(held.folder) as entries:
        stale = [entry.name for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(".tmp")]
    for name in stale:
        _remove(held, name)


def _write(held: LockedFile, data: bytes, leftovers: contextlib.ExitStack) -> str:
    """Write a new file in the same folder, with the owner, mode and attributes of the old one, and return its name."""
    name = f"{_prefix(held)}{secrets.token_hex(6)}.tmp"
    descriptor = os.open(name, _CREATING, 0o600, dir_fd=held.folder)
    leftovers.callback(_remove, held, name)
    with open(descriptor, "wb") as handle:
        handle.write(data)
        handle.flush()
        _make_alike(held, descriptor)
        os.fsync(descriptor)
    return name


def _back_up(held: LockedFile, leftovers: contextlib.ExitStack) -> str:
    """Copy the old file, with a name like the backups of Ansible's own modules."""
    try:
        copy = _free_name(held)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise HotplugError(
            CONFIG_INVALID,
            f"{held.path} was not changed, because the name of its backup would be too long for this file system: give "
            "the file a shorter name, or use backup: false",
        ) from None
    temporary = _write(held, held.data, leftovers)
    times = (held.status.st_atime_ns, held.status.st_mtime_ns)
    os.utime(temporary, ns=times, dir_fd=held.folder, follow_symlinks=False)
    os.rename(temporary, copy, src_dir_fd=held.folder, dst_dir_fd=held.folder)
    leftovers.callback(_remove, held, copy)
    return copy


def _free_name(held: LockedFile) -> str:
    while True:
        moment = time.strftime("%Y-%m-%d@%H:%M:%S~", time.localtime())
        name = f"{held.name}.{os.getpid()}.{moment}"
        try:
            os.stat(name, dir_fd=held.folder, follow_symlinks=False)
        except FileNotFoundError:
            return name
        time.sleep(_POLL)


def _make_alike(held: LockedFile, descriptor: int) -> None:
    """Copy owner, group, access list, mode and other attributes (such as SELinux's) of the old file to a new one."""
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (held.status.st_uid, held.status.st_gid):
        try:
            os.fchown(descriptor, held.status.st_uid, held.status.st_gid)
        except PermissionError:
            raise HotplugError(
                CONFIG_INVALID,
                f"the owner and group of {held.path} could not be kept, so it was not changed: run the task as root "
                "(become), or as its owner and in its group",
            ) from None
    old, own = _attributes(held.descriptor), _attributes(descriptor)
    # The new file may have inherited an access list from the folder that the old file does not have.
    if old.get(_ACCESS_LIST) != own.get(_ACCESS_LIST):
        _set_access_list(held, descriptor, old.get(_ACCESS_LIST))
    os.fchmod(descriptor, stat.S_IMODE(held.status.st_mode))
    for name, value in old.items():
        if name != _ACCESS_LIST and own.get(name) != value:
            with _dispensable():
                os.setxattr(descriptor, name, value)


def _set_access_list(held: LockedFile, descriptor: int, value: bytes | None) -> None:
    try:
        if value is None:
            os.removexattr(descriptor, _ACCESS_LIST)
        else:
            os.setxattr(descriptor, _ACCESS_LIST, value)
    except OSError as error:
        raise HotplugError(
            CONFIG_INVALID,
            f"the access control list of {held.path} could not be kept ({error.strerror}), so it was not changed: run "
            "the task as root (become), or as its owner",
        ) from None


def _attributes(descriptor: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with _dispensable():
        for name in os.listxattr(descriptor):
            with _dispensable():
                found[name] = os.getxattr(descriptor, name)
    return found


@contextlib.contextmanager
def _dispensable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DISPENSABLE:
            raise
