# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Peers on the loopback interface that cannot be talked to."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def silent_peer() -> Iterator[int]:
    """Give the port of a peer that accepts connections, and neither reads nor writes."""
    with counting_peer() as (port, _connections):
        yield port


@contextlib.contextmanager
def counting_peer() -> Iterator[tuple[int, Callable[[], int]]]:
    """Give the port of a silent peer, and a function that returns how many connections were made to it."""
    accepted: list[socket.socket] = []
    with contextlib.ExitStack() as sockets:
        peer = sockets.enter_context(socket.socket())
        peer.bind(("127.0.0.1", 0))
        peer.listen(64)
        peer.setblocking(False)

        def connections() -> int:
            with contextlib.suppress(BlockingIOError):
                while True:
                    accepted.append(sockets.enter_context(peer.accept()[0]))
            return len(accepted)

        yield peer.getsockname()[1], connections


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
