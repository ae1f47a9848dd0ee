# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A relay between libvirt and QEMU's monitor, which adds the event that QEMU sends with KVM only.

Under TCG, the object of a vCPU that is gone is never freed, and so DEVICE_DELETED names its interrupt controller and
not the vCPU itself, for which libvirt waits. The relay is started by an emulator's wrapper, which then becomes QEMU.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import sys
import time

PATIENCE = 30
CHUNK = 65536
FILES = 16
CONTROLLER = re.compile(r"(/machine/peripheral/([^/]+))/lapic")


def with_deleted(line: bytes) -> bytes:
    """Return a line of QEMU, and after the event of a vCPU's interrupt controller also that of the vCPU."""
    if b"DEVICE_DELETED" not in line:
        return line
    message = json.loads(line)
    found = CONTROLLER.fullmatch(message.get("data", {}).get("path", ""))
    if not found:
        return line
    message["data"] = {"device": found.group(2), "path": found.group(1)}
    return line + json.dumps(message).encode() + b"\r\n"


def _connected(path: str) -> socket.socket:
    deadline = time.monotonic() + PATIENCE
    while True:
        qemu = socket.socket(socket.AF_UNIX)
        if qemu.connect_ex(path) == 0:
            return qemu
        qemu.close()
        if time.monotonic() > deadline:
            sys.exit(f"the relay does not reach QEMU's monitor at {path}")
        time.sleep(0.005)


def _relay(client: socket.socket, qemu: socket.socket) -> bool:
    """Relay until one side disconnects, and return whether that was the client."""
    waiting = b""
    while True:
        for side in select.select([client, qemu], [], [])[0]:
            # Files come with what libvirt says: where to save a guest to, for one.
            data, files, _flags, _address = socket.recv_fds(side, CHUNK, FILES)
            if not data:
                return side is client
            if side is client:
                socket.send_fds(qemu, [data], files)
                for file in files:
                    os.close(file)
            else:
                *lines, waiting = (waiting + data).splitlines(keepends=True)
                if waiting.endswith(b"\n"):
                    lines.append(waiting)
                    waiting = b""
                client.sendall(b"".join(with_deleted(line) for line in lines))


def main(listener: int, path: str) -> None:
    """Serve one client after the other, as QEMU does, until QEMU ends."""
    parent = os.pidfd_open(os.getppid())
    with socket.socket(fileno=listener) as server:
        going_on = True
        while going_on:
            if parent in select.select([server.fileno(), parent], [], [])[0]:
                return
            client, _address = server.accept()
            with client, _connected(path) as qemu:
                try:
                    going_on = _relay(client, qemu)
                except ConnectionError:
                    continue


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
