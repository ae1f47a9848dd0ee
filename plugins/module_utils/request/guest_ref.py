# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest that the options of a task name: its label, its host, and a key that identifies it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

LIBVIRT = "libvirt"
QEMU = "qemu"

# The options that name a guest; the first that is set is its label in results.
WAYS_TO_NAME = ("name", "qmp_socket", "agent_socket", "domain_xml")


_THIS_HOST = ("localhost", "127.0.0.1", "::1")


class GuestRef(NamedTuple):
    """A guest by the options that name it; only a libvirt guest has a ``uri``.

    ``title`` is its label if its options were made from a list, with its UUID as ``name``.
    """

    uri: str | None = None
    name: str | None = None
    qmp_socket: str | None = None
    agent_socket: str | None = None
    domain_xml: str | None = None
    title: str | None = None

    @property
    def backend(self) -> str:
        """``LIBVIRT`` or ``QEMU``: what manages the guest."""
        return QEMU if self.name is None else LIBVIRT

    @property
    def label(self) -> str:
        """The guest's label in results and messages, printable."""
        named = next((getattr(self, way) for way in WAYS_TO_NAME if getattr(self, way) is not None), "?")
        return printable(self.title or named)

    @property
    def described(self) -> str:
        """The label, with the URI of a guest on another host."""
        return self.label if self.name is None else f"guest {self.label} of {printable(self.uri)}"

    @property
    def places(self) -> tuple[tuple[str, ...], ...]:
        """What identifies the guest: its name and libvirt, or each of its sockets and files with links resolved."""
        if self.name is not None:
            return (("name", self.uri or "", self.name),)
        places = {way: getattr(self, way) for way in WAYS_TO_NAME[1:]}
        return tuple((way, os.path.realpath(place)) for way, place in places.items() if place is not None)

    @property
    def host(self) -> str:
        """The host that the guest runs on, empty for the one that the module runs on."""
        if self.uri is None or self.name is None:
            return ""
        from urllib.parse import urlsplit

        try:
            host = urlsplit(self.uri).hostname or ""
        except ValueError:
            # It is for libvirt to refuse.
            return ""
        return "" if host in _THIS_HOST else host


def guest_ref(params: Mapping[str, Any]) -> GuestRef:
    """Return the guest that a task's options name."""
    ways = {way: None if params.get(way) is None else str(params[way]) for way in WAYS_TO_NAME}
    return GuestRef(uri=None if ways["name"] is None else params.get("uri"), title=params.get("title"), **ways)


def names_one(params: Mapping[str, Any]) -> bool:
    """Return whether options name a single guest, and not all guests of a daemon or a pattern."""
    return any(params.get(way) is not None for way in WAYS_TO_NAME)
