# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Peers on the loopback interface that cannot be talked to."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def silent_peer() -> Iterator[int]:
    """Give the port of a peer that accepts connections, and neither reads nor writes."""
    with socket.socket() as peer:
        peer.bind(("127.0.0.1", 0))
        peer.listen(64)
        yield peer.getsockname()[1]


@contextlib.contextmanager
def dropping_peer() -> Iterator[int]:
    """Give the port of a peer whose kernel drops connection requests, as a host that is gone: its queue is full."""
    with contextlib.ExitStack() as sockets:
        peer = sockets.enter_context(socket.socket())
        peer.bind(("127.0.0.1", 0))
        peer.listen(0)
        port = peer.getsockname()[1]
        for _queued in range(3):
            client = sockets.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port
