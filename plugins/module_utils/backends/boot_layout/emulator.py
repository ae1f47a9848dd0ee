# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which QEMU may be started for a domain: what a file names is run only where no other user can write it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import WORD
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError, printable

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain

_BINARIES = {"i686": "i386", "ppc64le": "ppc64", "armv7l": "arm", "armv6l": "arm"}
_RED_HAT_BINARY = "/usr/libexec/qemu-kvm"
# As many as the kernel follows.
_MOST_LINKS = 40


def emulator_of(domain: Domain, option: str | None, xml_file: str | None, remote: bool = False) -> str:
    """Return the QEMU to start: that of the option ``emulator``, else of the domain, else the host's own.

    The domain's own must be writable by root and this user only, and so must ``xml_file``, which holds the domain;
    None where libvirt does. What the domain of a ``remote`` libvirt names is a file of another host, and is never run.
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
                f"the vCPUs of this machine would have to be asked of {printable(named)}, which the domain XML names "
                f"as its <emulator>, but that is not run: {writer}; name the QEMU to run by the option emulator, let "
                "only root and the task's user write there, or use probe: never",
            )
    return named


def other_writer(path: str) -> str | None:
    """Return which place on the way to ``path`` others than root and this user may write, None if there is none.

    It is a sentence for the user.
    """
    try:
        return next(_other_writers(os.path.join(os.getcwd(), path)), None)
    except OSError as error:
        return f"{printable(path)} cannot be examined ({error.strerror})"


def _other_writers(path: str) -> Iterator[str]:
    """Follow ``path`` as the kernel does, and look at each folder, link and file on the way."""
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
    # A link has no mode of its own. In a sticky folder no user can replace another user's file.
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if not stat.S_ISLNK(found.st_mode) and not sticky:
        # The mode's group bits are also the most that an access control list grants to anybody.
        if found.st_mode & stat.S_IWGRP:
            yield f"{printable(path)} may be written by its group"
        if found.st_mode & stat.S_IWOTH:
            yield f"{printable(path)} may be written by everybody"


def _host_emulator(arch: str) -> str:
    if not WORD.fullmatch(arch):
        raise HotplugError(CONFIG_INVALID, f"{printable(arch, 60)!r} is not the name of an architecture")
    name = f"qemu-system-{_BINARIES.get(arch, arch)}"
    if shutil.which(name) is None and arch == os.uname().machine and os.access(_RED_HAT_BINARY, os.X_OK):
        return _RED_HAT_BINARY
    return name


def _same_file(named: str, own: str) -> bool:
    paths = shutil.which(named), shutil.which(own)
    return None not in paths and len({os.path.realpath(path) for path in paths if path}) == 1
