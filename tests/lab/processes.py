# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes, identified by their ids and start times, because the kernel reuses ids."""

from __future__ import annotations

import os
import pathlib
import select
import signal
import socket
import typing as t


def started(pid: int) -> int | None:
    """Return when a running process started, in ticks since the machine did; None when it has ended."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def end(pid: int, since: int, signals: t.Iterable[signal.Signals], timeout: float) -> bool | None:
    """Send signals to the process until it ends; return whether it has ended, or None if it was not running."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        if started(pid) != since:
            return None
        for number in signals:
            signal.pidfd_send_signal(process, number)
            if select.select([process], [], [], timeout)[0]:
                return True
        return False
    finally:
        os.close(process)


def free_port() -> int:
    """Return a port of the loopback interface that no process listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
