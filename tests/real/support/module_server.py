# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run Ansible modules in forks of a process that has imported Ansible and libraries, but nothing of the collection.

module_server.py PATH listens on a UNIX socket. A client sends a line of JSON, with the name of what to run, its folder
and its environment, and the descriptors of its standard input, output and error. It receives the id of the process, and
the connection is closed when that has ended. The server ends at the end of its own standard input.

It imports only what comes with Python, because the system's Python runs it too.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import socket
import sys

# What takes most of the time in which a module starts. Any of them may be missing.
LIBRARIES = ("ansible.module_utils.basic", "asyncio", "lxml.etree", "qemu.qmp", "libvirt", "libvirt_qemu")
MOST = 1 << 20


def accepted(path: str) -> socket.socket | None:
    """Fork for each client; return None in the server, at the end, and the connection in a fork."""
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as ready:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        ready.register(listener, selectors.EVENT_READ)
        ready.register(sys.stdin.fileno(), selectors.EVENT_READ)
        while True:
            if any(key.fileobj is not listener for key, _events in ready.select()):
                return None
            client, _address = listener.accept()
            if os.fork() == 0:
                return client
            client.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def become(client: socket.socket) -> str:
    """Take what a client sends as that of this process, and return the name of what it has to run."""
    request, descriptors, _flags, _address = socket.recv_fds(client, MOST, 3)
    while not request.endswith(b"\n"):
        request += client.recv(MOST)
    name, folder, environment = json.loads(request)
    for standard, descriptor in enumerate(descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    client.sendall(f"{os.getpid()}\n".encode())
    return str(name)


if __name__ == "__main__":
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    # A fork does not have to copy the memory of these objects.
    gc.freeze()
    connection = accepted(sys.argv[1])
    if connection is not None:
        # The connection is open until this process ends.
        name_to_run = become(connection)
        # As with `python -m`.
        sys.path[0] = os.getcwd()
        del sys.argv[1:]
        runpy.run_module(name_to_run, run_name="__main__", alter_sys=True)
