# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the QEMU to start for a domain. One that a file names is started only if no other user can write it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import PLAIN_VALUE
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError, printable

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain

_BINARIES = {"i686": "i386", "ppc64le": "ppc64", "armv7l": "arm", "armv6l": "arm"}
_RED_HAT_BINARY = "/usr/libexec/qemu-kvm"
# The kernel follows the same number.
_MOST_LINKS = 40


def emulator_of(domain: Domain, option: str | None, xml_file: str | None, remote: bool = False) -> str:
    """Return the QEMU to start: that of the option ``emulator``, else of the domain, else the host's own.

    The domain's own must be writable by root and this user only. So must ``xml_file``, the file of the domain, None if
    libvirt stores it. The domain of a ``remote`` libvirt names a file of another host, which is never started.
    Raises ``HotplugError`` (config_invalid).
    """
    if option is not None:
        return option
    own = _host_emulator(domain.arch or "x86_64")
    named = None if remote else domain.emulator
    if named is None or _same_file(named, own):
        return own
    for path in (xml_file, shutil.which(named)):
        writer = None if path is None else other_writer(path)
        if writer is not None:
            raise HotplugError(
                CONFIG_INVALID,
                f"the vCPUs of this machine can only be queried from {printable(named)}, the <emulator> of the domain "
                f"XML, but it is not started: {writer}; set the option emulator to the QEMU to start, restrict write "
                "permission to root and the task's user, or use probe: never",
            )
    return named


def other_writer(path: str) -> str | None:
    """Return which folder, link or file in ``path`` another user than root and this one may write, None if none.

    It is a message for the user.
    """
    try:
        return next(_other_writers(os.path.join(os.getcwd(), path)), None)
    except OSError as error:
        return f"{printable(path)} cannot be examined ({error.strerror})"


def _other_writers(path: str) -> Iterator[str]:
    """Follow ``path`` as the kernel does, and check each folder, link and file."""
    pending = [part for part in reversed(path.split("/")) if part]
    links = 0
    current = "/"
    yield from _writers_of(current)
    while pending:
        part = pending.pop()
        if part in (".", ".."):
            current = os.path.dirname(current) if part == ".." else current
            continue
        step = os.path.join(current, part)
        found = os.lstat(step)
        yield from _writers_of(step)
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _MOST_LINKS:
                yield f"{printable(path)} has too many symbolic links"
                return
            target = os.readlink(step)
            pending += [part for part in reversed(target.split("/")) if part]
            current = "/" if target.startswith("/") else current
        else:
            current = step


def _writers_of(path: str) -> Iterator[str]:
    found = os.lstat(path)
    if found.st_uid not in (0, os.geteuid()):
        yield f"{printable(path)} belongs to another user (uid {found.st_uid})"
    # A link has no mode. In a sticky folder no user can replace another user's file.
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if not stat.S_ISLNK(found.st_mode) and not sticky:
        # The group bits of the mode also limit what an access control list grants.
        if found.st_mode & stat.S_IWGRP:
            yield f"{printable(path)} may be written by its group"
        if found.st_mode & stat.S_IWOTH:
            yield f"{printable(path)} may be written by everybody"


def _host_emulator(arch: str) -> str:
    if not PLAIN_VALUE.fullmatch(arch):
        raise HotplugError(CONFIG_INVALID, f"{printable(arch, 60)!r} is not the name of an architecture")
    name = f"qemu-system-{_BINARIES.get(arch, arch)}"
    if shutil.which(name) is None and arch == os.uname().machine and os.access(_RED_HAT_BINARY, os.X_OK):
        return _RED_HAT_BINARY
    return name


def _same_file(named: str, own: str) -> bool:
    paths = shutil.which(named), shutil.which(own)
    return None not in paths and len({os.path.realpath(path) for path in paths if path}) == 1
