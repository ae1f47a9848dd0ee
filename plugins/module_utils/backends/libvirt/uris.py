# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a libvirt uri says of its host."""

from __future__ import annotations

from urllib.parse import urlsplit


def hypervisor_of(uri: str) -> str:
    """Return the host of a libvirt uri, empty for the local one."""
    return urlsplit(uri).hostname or ""


def is_remote(uri: str) -> bool:
    """Return whether a libvirt uri may be of another host; only those of the local QEMU driver are not.

    Other texts can be aliases, which the library's own configuration resolves.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        return True
    return parts.scheme not in ("qemu", "qemu+unix") or bool(parts.netloc)
