# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run modules in processes that do not import Ansible and libraries anew, each a fork of a `module_server`.

A real test runs a module several times, and most of a module's CPU time are these imports. Those of the collection are
not saved: each process imports all that it uses, as on a hypervisor.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

SERVER = Path(__file__).with_name("module_server.py")
# What Python and the loader read when a process starts; a fork can have its own value of all others.
AT_START = ("PYTHON", "LD_", "LC_", "LANG")

Key = tuple[str, ...]
_servers: dict[Key, _Server] = {}
_lock = threading.Lock()


def possible() -> bool:
    """Return whether modules can be run in this way: a measurement of coverage begins when a process starts."""
    return not any(name.startswith("COVERAGE_") for name in os.environ)


def run(python: str, name: str, environment: Mapping[str, str], standard_input: str, timeout: float) -> tuple[str, str]:
    """Run a Python module by name as `python -m` does, and return its output and errors."""
    at_start = sorted(f"{key}={value}" for key, value in environment.items() if key.startswith(AT_START))
    key = (python, *at_start)
    with _lock:
        if key not in _servers:
            _servers[key] = _Server(python, environment)
    server = _servers[key]
    with contextlib.ExitStack() as files:
        streams = [files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _stream in range(3)]
        streams[0].write(standard_input)
        streams[0].seek(0)
        server.run([name, os.getcwd(), dict(environment)], [stream.fileno() for stream in streams], timeout)
        for stream in streams[1:]:
            stream.seek(0)
        return streams[1].read(), streams[2].read()


class _Server:
    """A process of `module_server`, which ends with this one."""

    def __init__(self, python: str, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="modules-")
        self._path = os.path.join(self._folder.name, "socket")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [python, str(SERVER), self._path], env=environment, stdin=pipe, stdout=pipe, text=True
        )
        atexit.register(self._end)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise AssertionError(f"{SERVER} ended with {self._process.wait()}")

    def run(self, request: list[object], descriptors: list[int], timeout: float) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(self._path)
            text = f"{json.dumps(request)}\n".encode()
            sent = socket.send_fds(connection, [text], descriptors)
            connection.sendall(text[sent:])
            pid = int(connection.recv(20))
            try:
                connection.recv(1)
            except OSError:
                os.kill(pid, signal.SIGKILL)
                raise

    def _end(self) -> None:
        # It ends when its standard input is closed.
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._folder.cleanup()
