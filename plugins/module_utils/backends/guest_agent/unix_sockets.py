# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connections to a UNIX socket, by the kernel's list: which are accepted, and which still wait."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

LIST = Path("/proc/net/unix")
_STATES = {"02": False, "03": True}


class Connection(NamedTuple):
    """The server's end of a connection to the socket at ``path``; ``served`` once the server has accepted it."""

    path: str
    inode: str
    served: bool


def connections(listing: Path = LIST) -> frozenset[Connection]:
    """Return the connections to all sockets, none if the kernel does not list them."""
    # Reading the list takes several calls, and it changes in between: one read missed one connection in 25,000.
    return frozenset().union(*(_read(listing) for _time in range(3)))


def _read(listing: Path) -> frozenset[Connection]:
    try:
        lines = listing.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    except OSError:
        return frozenset()
    rows = (line.split(None, 7) for line in lines)
    return frozenset(Connection(row[7], row[6], _STATES[row[5]]) for row in rows if len(row) == 8 and row[5] in _STATES)


def is_held(path: str, before: frozenset[Connection], listing: Path = LIST) -> bool | None:
    """Whether another client is served at ``path``, where this process is connected too; None if unknown.

    ``before`` are the connections before this process connected.
    """
    here = {connection for connection in connections(listing) if connection.path == path}
    if not here:
        return None
    if all(connection.served for connection in here):
        return False
    # One waits. If an earlier client is served, it is this process; otherwise it may be a later client.
    return any(connection.served for connection in here & before) or None
