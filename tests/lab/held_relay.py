# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A relay between two UNIX sockets that can be held, so that a migration over it stays in its phase."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

PIECE = 4096


class HeldRelay:
    """Forwards one connection to `path` to the socket `target` while its `with` block lasts, until `hold`.

    Then only replies are forwarded, and the client is blocked once the buffers between both are full.
    """

    def __init__(self, path: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
        self._target = os.fspath(target)
        self._held = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen(1)
        self._server = socket.socket(socket.AF_UNIX)
        self._client: socket.socket | None = None
        self._threads = [threading.Thread(target=self._serve)]

    def __enter__(self) -> HeldRelay:
        self._threads[0].start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._held.set()
        for end in (self._listener, self._server, self._client):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, self._server, self._client):
            if end is not None:
                end.close()

    def hold(self) -> None:
        """Forward no more data of the client."""
        self._held.set()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            self._client, _address = self._listener.accept()
            self._server.connect(self._target)
            replies = threading.Thread(target=_pump, args=(self._server, self._client, threading.Event()))
            self._threads.append(replies)
            replies.start()
            _pump(self._client, self._server, self._held)


def _pump(source: socket.socket, destination: socket.socket, held: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while not held.is_set() and (data := source.recv(PIECE)):
            destination.sendall(data)
