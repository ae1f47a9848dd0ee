# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read files of /proc and /sys.

A batch reads thousands of them, and Python's file objects take longer than the kernel's replies.
"""

from __future__ import annotations

import os

_CHUNK = 64 * 1024


def read_bytes(path: str) -> bytes:
    """Return the content of a file; raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = chunk = os.read(descriptor, _CHUNK)
        while chunk:
            chunk = os.read(descriptor, _CHUNK)
            content += chunk
        return content
    finally:
        os.close(descriptor)


def read_text(path: str) -> str:
    """Return the content of a file as text, whatever its bytes are; raises ``OSError``."""
    return read_bytes(path).decode("utf-8", "replace")


def field_of(status: str, name: str) -> str:
    """Return a field of the text of /proc/PID/status; raises ``ValueError`` without it."""
    _before, found, rest = f"\n{status}".partition(f"\n{name}:")
    if not found:
        raise ValueError(name)
    return rest.partition("\n")[0].strip()
