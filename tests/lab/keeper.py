# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A process that starts others, and ends them and their children when the process that requested them has ended."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import typing as t

from . import LabError

PR_SET_CHILD_SUBREAPER = 36


class Watchdog:
    """A keeper of our own; it and all its processes end, and its folder goes, at `close` or with this process."""

    def __init__(self, folder: pathlib.Path) -> None:
        ours, theirs = socket.socketpair()
        with theirs, open(folder / "keeper.log", "wb") as log:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-m", __name__, os.fspath(folder), str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=log,
                stderr=log,
                cwd=pathlib.Path(__file__).parents[1],
                start_new_session=True,
            )
        with ours:
            self._stream = ours.makefile("rw", encoding="utf-8")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def start(self, command: t.Sequence[str], log: pathlib.Path, **options: t.Any) -> int:
        """Start a program with these options of `subprocess.Popen`, and return its process id."""
        return int(self._ask(start=command, log=os.fspath(log), options=options))

    def end(self, pid: int, number: signal.Signals, timeout: float) -> bool:
        """Send a signal to a process that was started, and return whether it has ended in time."""
        return bool(self._ask(end=pid, signal=number, timeout=timeout))

    def stay(self) -> None:
        """Outlive this process: then SIGTERM ends the keeper."""
        self._ask(stay=True)

    def close(self) -> None:
        """End it and all its processes."""
        self._stream.close()
        self._process.wait()

    def _ask(self, **request: t.Any) -> t.Any:
        self._stream.write(json.dumps(request) + "\n")
        self._stream.flush()
        line = self._stream.readline()
        if not line:
            raise LabError("the keeper of the processes is gone")
        answer = json.loads(line)
        if "error" in answer:
            raise LabError(answer["error"])
        return answer["return"]


class _Service:
    """The keeper itself, which serves the one who started it."""

    def __init__(self, starter: int) -> None:
        # What its processes leave behind becomes its own child, and so can be identified.
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        self._over = False
        self._stream = socket.socket(fileno=0).makefile("rw", encoding="utf-8")
        self._woken, writer = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._end)
        self._waiting = select.poll()
        for descriptor in (0, self._woken):
            self._waiting.register(descriptor, select.POLLIN)
        # A process that the starter forked may hold the socket's other end for longer than the starter lives.
        self._starter = os.pidfd_open(starter)
        self._waiting.register(self._starter, select.POLLIN)

    def serve(self) -> None:
        """Execute requests until the connection ends, then end every process."""
        try:
            while not self._over:
                ready = [descriptor for descriptor, _event in self._waiting.poll()]
                self._reap()
                if self._woken in ready:
                    os.read(self._woken, 65536)
                if self._starter in ready:
                    self._over = True
                elif 0 in ready:
                    self._answer()
        finally:
            self._end_all()

    def _end(self, *_signal: object) -> None:
        self._over = True

    def _answer(self) -> None:
        line = self._stream.readline()
        if not line:
            self._over = True
            return
        request = json.loads(line)
        try:
            if "start" in request:
                with open(request["log"], "ab") as log:
                    options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **request["options"]}
                    answer: t.Any = subprocess.Popen(request["start"], **options).pid
            elif "end" in request:
                answer = self._end_one(request["end"], request["signal"], request["timeout"])
            else:
                answer = True
            message = {"return": answer}
        except OSError as error:
            message = {"error": str(error)}
        self._stream.write(json.dumps(message) + "\n")
        self._stream.flush()
        if "stay" in request:
            self._waiting.unregister(0)
            self._waiting.unregister(self._starter)

    def _end_one(self, pid: int, number: int, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        if pid in _children():
            os.kill(pid, number)
        while pid in _children():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
            self._reap()
        return True

    def _reap(self) -> None:
        # libvirt takes a process for alive until someone has taken notice of its end.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def _end_all(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                for pid in _children():
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(-1, 0)


def _children() -> list[int]:
    """Return the children of this process, which keep their ids until it has taken notice of their end."""
    found = []
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if int(status.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(status.parent.name))
    return found


if __name__ == "__main__":
    try:
        _Service(int(sys.argv[2])).serve()
    finally:
        shutil.rmtree(sys.argv[1], ignore_errors=True)
