# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How tests reach a guest, regardless of who started its QEMU: by their own monitor and shell."""

from __future__ import annotations

import pathlib
import re
import secrets
import socket
import time

from . import LabError, observer


class Died(LabError):
    """QEMU ended by itself."""


class ShellError(LabError):
    """A command in the guest ended with a status that is not 0."""

    def __init__(self, command: str, status: int, output: str) -> None:
        super().__init__(f"in the guest, `{command}` ended with {status}: {output.strip()}")
        self.status = status
        self.output = output


class Contact:
    """A guest with a monitor and a shell for the tests."""

    observer_socket: str
    shell_socket: str
    console: pathlib.Path

    def __init__(self) -> None:
        self._observer: observer.Monitor | None = None
        self._shell: Shell | None = None

    def check_alive(self) -> None:
        """Raise `Died` if its QEMU has ended."""
        raise NotImplementedError

    @property
    def observer(self) -> observer.Monitor:
        """A monitor that the code under test does not use."""
        if not self._observer:
            self._observer = observer.Monitor(self.observer_socket)
        return self._observer

    def wait_ready(self, timeout: float = 60) -> float:
        """Wait until the guest's shell answers and return the seconds that took."""
        began = time.monotonic()
        try:
            self.shell("true", timeout=timeout)
        except ConnectionError:
            # The shell's socket goes a moment before its process.
            for _moment in range(50):
                self.check_alive()
                time.sleep(0.1)
            raise
        except TimeoutError:
            self.check_alive()
            tail = self.console.read_text(encoding="utf-8", errors="replace")[-1500:]
            raise LabError(f"the guest is not ready after {timeout} s; its console ends with\n{tail}") from None
        return time.monotonic() - began

    def shell(self, command: str, timeout: float = 30) -> str:
        """Run a command in the guest and return its output; `ShellError` when its status is not 0."""
        if not self._shell:
            self._shell = Shell(self.shell_socket)
        return self._shell.run(command, timeout)

    def hang_up(self) -> None:
        """Leave the guest's shell, which serves one at a time, to someone else."""
        if self._shell:
            self._shell.close()
        self._shell = None

    def disconnect(self) -> None:
        """Close the shell and the monitor."""
        self.hang_up()
        if self._observer:
            self._observer.close()
        self._observer = None


class Shell:
    """The shell that the guest's init serves on a virtio port."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._buffer = b""

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def run(self, command: str, timeout: float) -> str:
        """Run one command; answers to earlier ones that were given up are skipped."""
        deadline = time.monotonic() + timeout
        token = secrets.token_hex(8)
        line = "".join(char if char.isalnum() or char in " /=_-.;" else _escaped(char) for char in command)
        self._socket.sendall(f"{token} {line}\n".encode())
        header = re.compile(rb"\x01LAB " + token.encode() + rb" (\d+) (\d+)\n")
        found = None
        while not found:
            self._receive(deadline)
            found = header.search(self._buffer)
        status, end = int(found.group(1)), found.end() + int(found.group(2))
        while len(self._buffer) < end:
            self._receive(deadline)
        output = self._buffer[found.end() : end].decode(errors="replace")
        self._buffer = self._buffer[end:]
        if status:
            raise ShellError(command, status, output)
        return output

    def _receive(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the guest's shell did not answer in time")
        self._socket.settimeout(left)
        try:
            chunk = self._socket.recv(65536)
        except socket.timeout:
            raise TimeoutError("the guest's shell did not answer in time") from None
        if not chunk:
            raise ConnectionError("the guest is gone")
        self._buffer += chunk


def _escaped(char: str) -> str:
    return "".join(f"\\0{byte:03o}" for byte in char.encode())
