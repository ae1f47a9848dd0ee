# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A locked file replaced in one piece: any run may die at any moment, and the file is the old one or the new one."""

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
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.locked_file import Held

_POLL = 0.02
_MARK = ".kvm-hotplug-"
_NAME_LIMIT = 200
_CREATING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_ACCESS_LIST = "system.posix_acl_access"
# Errors of a file system, or for a user, without attributes that decide on no access.
_DISPENSABLE = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA, errno.EINVAL)


def replace(held: Held, data: bytes, backup: bool) -> str | None:
    """Put ``data`` in the place of a locked file, whole or not at all; return the path of the copy of the old one.

    Everything is done in the folder as it was opened, whatever its path has become since. Raises ``HotplugError``:
    config_invalid where it cannot be done, config_locked where the file was changed by something without a lock.
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
                f"{held.path} was changed by something that does not lock it while it was being written, so it was "
                "left alone: run the task again",
            )
        os.replace(temporary, held.name, src_dir_fd=held.folder, dst_dir_fd=held.folder)
        leftovers.pop_all()
    # What is in place stays in place: a folder that cannot be synchronised is no failure of ours.
    with contextlib.suppress(OSError):
        os.fsync(held.folder)
    return None if copy is None else os.path.join(os.path.dirname(held.path), copy)


@contextlib.contextmanager
def _reporting(held: Held) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HotplugError(
            CONFIG_INVALID,
            f"{held.path} cannot be replaced ({error.strerror}), so it was left alone: let this user write to "
            f"{os.path.dirname(held.path)}, and see that there is room",
        ) from None


def _remove(held: Held, name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=held.folder)


def _prefix(held: Held) -> str:
    """How the names of temporary files for this one begin; of a name near the limit there is a hash in it."""
    name = held.name
    if len(os.fsencode(name)) > _NAME_LIMIT:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}{_MARK}"


def _remove_stale(held: Held) -> None:
    """Remove what killed runs left behind: only the run that holds the lock has such a file in use."""
    prefix = _prefix(held)
    with os.scandir(held.folder) as entries:
        stale = [entry.name for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(".tmp")]
    for name in stale:
        _remove(held, name)


def _write(held: Held, data: bytes, leftovers: contextlib.ExitStack) -> str:
    """Write a file beside the held one, with its owner, mode and attributes, and return its name."""
    name = f"{_prefix(held)}{secrets.token_hex(6)}.tmp"
    descriptor = os.open(name, _CREATING, 0o600, dir_fd=held.folder)
    leftovers.callback(_remove, held, name)
    with open(descriptor, "wb") as handle:
        handle.write(data)
        handle.flush()
        _make_alike(held, descriptor)
        os.fsync(descriptor)
    return name


def _back_up(held: Held, leftovers: contextlib.ExitStack) -> str:
    """Keep the old bytes under the name that Ansible's own modules give to backups."""
    try:
        copy = _free_name(held)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise HotplugError(
            CONFIG_INVALID,
            f"{held.path} was left alone, because the name of its backup would be too long for this file system: give "
            "the file a shorter name, or do without backup",
        ) from None
    temporary = _write(held, held.data, leftovers)
    times = (held.status.st_atime_ns, held.status.st_mtime_ns)
    os.utime(temporary, ns=times, dir_fd=held.folder, follow_symlinks=False)
    os.rename(temporary, copy, src_dir_fd=held.folder, dst_dir_fd=held.folder)
    leftovers.callback(_remove, held, copy)
    return copy


def _free_name(held: Held) -> str:
    while True:
        moment = time.strftime("%Y-%m-%d@%H:%M:%S~", time.localtime())
        name = f"{held.name}.{os.getpid()}.{moment}"
        try:
            os.stat(name, dir_fd=held.folder, follow_symlinks=False)
        except FileNotFoundError:
            return name
        time.sleep(_POLL)


def _make_alike(held: Held, descriptor: int) -> None:
    """Give a new file the owner, group, access list, mode and other attributes (SELinux's) of the old one."""
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
    old, own = _attributes(held.descriptor), _attributes(descriptor)
    # The folder may have given the new file an access list that the old one has not.
    if old.get(_ACCESS_LIST) != own.get(_ACCESS_LIST):
        _set_access_list(held, descriptor, old.get(_ACCESS_LIST))
    os.fchmod(descriptor, stat.S_IMODE(held.status.st_mode))
    for name, value in old.items():
        if name != _ACCESS_LIST and own.get(name) != value:
            with _dispensable():
                os.setxattr(descriptor, name, value)


def _set_access_list(held: Held, descriptor: int, value: bytes | None) -> None:
    try:
        if value is None:
            os.removexattr(descriptor, _ACCESS_LIST)
        else:
            os.setxattr(descriptor, _ACCESS_LIST, value)
    except OSError as error:
        raise HotplugError(
            CONFIG_INVALID,
            f"the access control list of {held.path} could not be kept ({error.strerror}), so it was left alone: run "
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
