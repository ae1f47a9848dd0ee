# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests that outlive the command that started them, found again by their folder."""

from __future__ import annotations

import json
import os
import pathlib
import select
import signal
import typing as t

from . import LabError
from .guest import Guest

STATE = "guest.json"


def boot(guest: Guest, timeout: float = 120) -> dict[str, t.Any]:
    """Start a guest that stays, wait until it is ready (if it has a system), and return how to reach it."""
    _refuse_second(guest.workdir)
    guest.start(detached=True)
    try:
        state = {
            "pid": guest.pid,
            "started": _started(guest.pid),
            "qemu": ".".join(str(number) for number in guest.qemu.version),
            "qmp_socket": guest.qmp_socket,
            "tcp_monitor": guest.tcp_monitor,
            "eyes_socket": guest.eyes_socket,
            "agent_socket": guest.agent_socket,
            "shell_socket": guest.shell_socket,
        }
        (guest.workdir / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
        if guest.speaks:
            guest.wait_ready(timeout)
    except BaseException:
        guest.stop()
        raise
    return state


def state_of(workdir: pathlib.Path) -> dict[str, t.Any]:
    """Return what `boot` returned for a guest."""
    try:
        return t.cast(dict[str, t.Any], json.loads((workdir / STATE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise LabError(f"no guest was booted in {workdir}") from None


def stop(workdir: pathlib.Path, timeout: float = 10) -> bool:
    """End a guest, and tell whether it was running; a process that merely has its old pid is left alone."""
    state = state_of(workdir)
    try:
        process = os.pidfd_open(state["pid"])
    except ProcessLookupError:
        return False
    try:
        if _started(state["pid"]) != state["started"]:
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(process, number)
            if select.select([process], [], [], timeout)[0]:
                return True
        raise LabError(f"QEMU, process {state['pid']}, does not end")
    finally:
        os.close(process)


def _refuse_second(workdir: pathlib.Path) -> None:
    if (workdir / STATE).exists():
        state = state_of(workdir)
        if _started(state["pid"]) == state["started"]:
            raise LabError(f"a guest is running in {workdir}: stop it first")


def _started(pid: int) -> int | None:
    """Return when a running process started, in ticks since the machine did; with its pid this names it for good."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])
