# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes that run at the same time and whose output is printed one after the other."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Iterator
from typing import Any


class Output:
    """What one or more processes print, kept until it is to be printed here."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def start(self, words: list[str], **options: Any) -> subprocess.Popen[str]:
        """Start a process that prints to this output, with options of `subprocess.Popen`."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            words, stdout=pipe, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace", **options
        )
        reader = threading.Thread(target=self._read, args=[process])
        reader.start()
        self._reader = reader
        return process

    def wait(self, process: subprocess.Popen[str]) -> int:
        """Wait until the process that was started last has ended and printed all, and return its status."""
        self._reader.join()
        return process.wait()

    def close(self) -> None:
        """End the output."""
        self._lines.put(None)

    def lines(self) -> Iterator[str]:
        """Print the lines, those that come later as they come, and yield each of them; return at the end."""
        for line in iter(self._lines.get, None):
            print(line, end="", flush=True)
            yield line

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(line)
        process.stdout.close()
