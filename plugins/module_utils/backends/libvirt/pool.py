# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connections of one run: at most one to each libvirt for reading and one for writing, however many guests."""

from __future__ import annotations

import asyncio
import time

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import (
    ConnectingTimedOut,
    Connection,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import MONITOR_UNREACHABLE, HotplugError

# How long a daemon that disconnected during the run may take to restart.
RESTART_SECONDS = 15.0
RETRY_SECONDS = 0.5


class Pool:
    """Opens connections at their first use, and keeps them."""

    def __init__(self) -> None:
        self._connections: dict[tuple[str, bool], Connection] = {}
        self._locks: dict[tuple[str, bool], asyncio.Lock] = {}
        self._once_there: set[str] = set()
        self._unreachable: dict[str, ConnectingTimedOut] = {}

    async def close(self) -> None:
        """Close all; never raises."""
        connections = list(self._connections.values())
        self._connections.clear()
        for connection in connections:
            await connection.close()

    async def connection(self, uri: str, reading: bool, patience: float) -> Connection:
        """Return an open connection; raises ``MissingLibrary``, or ``HotplugError`` (monitor_unreachable).

        A broken connection is replaced; a daemon that was connected before gets some time to restart. A host that did
        not reply in time is not tried again for the other guests of the run, which would each wait as long.
        """
        key = (uri, reading)
        async with self._locks.setdefault(key, asyncio.Lock()):
            found = self._connections.get(key)
            if found is not None and await found.is_alive():
                return found
            if uri in self._unreachable:
                raise self._unreachable[uri]
            deadline = time.monotonic() + (RESTART_SECONDS if uri in self._once_there else 0.0)
            if found is not None:
                await found.close()
            while True:
                connection = Connection(uri, reading, patience)
                try:
                    await connection.open()
                except HotplugError as error:
                    await connection.close()
                    if isinstance(error, ConnectingTimedOut):
                        self._unreachable[uri] = error
                        raise
                    if error.code != MONITOR_UNREACHABLE or time.monotonic() >= deadline:
                        raise
                else:
                    self._connections[key] = connection
                    self._once_there.add(uri)
                    return connection
                await asyncio.sleep(RETRY_SECONDS)
