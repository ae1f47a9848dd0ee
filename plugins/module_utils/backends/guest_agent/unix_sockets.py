# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else is connected to a UNIX socket: the kernel's list tells the clients that are served from those that wait."""

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
    """Return the connections to all sockets, none where the kernel does not tell."""
    # Reading the list takes several calls, between which it changes: a look was seen to miss one in 25,000.
    return frozenset().union(*(_look(listing) for _time in range(3)))


def _look(listing: Path) -> frozenset[Connection]:
    try:
        lines = listing.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    except OSError:
        return frozenset()
    rows = (line.split(None, 7) for line in lines)
    return frozenset(Connection(row[7], row[6], _STATES[row[5]]) for row in rows if len(row) == 8 and row[5] in _STATES)


def is_held(path: str, before: frozenset[Connection], listing: Path = LIST) -> bool | None:
    """Whether somebody else is served at ``path``, where we are connected, too; None where that cannot be told.

    ``before`` were the connections when we came.
    """
    here = {connection for connection in connections(listing) if connection.path == path}
    if not here:
        return None
    if all(connection.served for connection in here):
        return False
    # One waits. It is us if somebody is served who came earlier; else it may be one who came later.
    return any(connection.served for connection in here & before) or None
