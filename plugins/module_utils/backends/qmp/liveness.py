# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signs that a QEMU runs although no process listens at its monitor's address, so that the guest is not shut off."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import parse_address
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

# net(7): the state of a UNIX socket that listens, in /proc/net/unix.
_ACCEPTS = 0x10000
# Debian and Red Hat also have a binary named kvm.
_QEMU = re.compile(r"qemu|kvm")


def sign_of_qemu(address: str) -> str | None:
    """Return a sign that a QEMU has its monitor at ``address``, as a part of a sentence, or None.

    Only processes in this network and process namespace that this user may inspect can be found.
    """
    names = _names(address)
    if not names.isdisjoint(_listeners()):
        return "a process listens at a socket of this name, although its file was removed or replaced"
    pattern = re.compile(rf"(?:^|[:=,])(?:{'|'.join(re.escape(name) for name in names)})(?:,|$)")
    for pid, arguments in _command_lines():
        if any(pattern.search(argument) for argument in arguments):
            return f"process {pid} ({printable(os.path.basename(arguments[0]), 40)}) was started with this monitor"
    return None


def _names(address: str) -> set[str]:
    """All names of a monitor's address: a path may be relative, or contain links."""
    if not isinstance(parse_address(address), str):
        return {address}
    folder, name = os.path.split(os.path.abspath(address))
    return {address, os.path.join(folder, name), os.path.join(os.path.realpath(folder), name)}


def _listeners() -> Iterator[str]:
    """The names of the UNIX sockets that listen; the kernel keeps a name when its file is removed."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]:
            fields = line.split(maxsplit=7)
            if len(fields) == 8 and int(fields[3], 16) & _ACCEPTS:
                yield fields[7]


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        # Processes end at any moment, and this user may not inspect all of them.
        with contextlib.suppress(OSError):
            arguments = os.fsdecode((folder / "cmdline").read_bytes()).split("\0")
            if _QEMU.match(os.path.basename(arguments[0])):
                yield int(folder.name), arguments
