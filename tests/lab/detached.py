# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests and libvirtds that outlive the command that started them, found again by their folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import typing as t

from . import LabError, packages, processes
from .daemon import Daemon
from .domains import LibvirtGuest
from .guest import Guest

STATE = "guest.json"
LIBVIRTD = "libvirtd.json"


def boot(guest: Guest, timeout: float = 120) -> dict[str, t.Any]:
    """Start a guest that stays, wait until it is ready (if it has a system), and return how to reach it."""
    with _alone(guest.workdir):
        _refuse_second(guest.workdir)
        try:
            guest.start(detached=True)
            state = {
                "pid": guest.pid,
                "started": processes.started(guest.pid),
                "qemu": ".".join(str(number) for number in guest.qemu.version),
                "qmp_socket": guest.qmp_socket,
                "tcp_monitor": guest.tcp_monitor,
                "observer_socket": guest.observer_socket,
                "agent_socket": guest.agent_socket,
                "shell_socket": guest.shell_socket,
            }
            (guest.workdir / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
        except BaseException:
            guest.stop()
            raise
    try:
        if guest.speaks:
            guest.wait_ready(timeout)
    except BaseException:
        guest.stop()
        raise
    return state


def state_of(workdir: pathlib.Path) -> dict[str, t.Any]:
    """Return what `boot` returned for a guest."""
    return _read(workdir / STATE, f"no guest was booted in {workdir}")


def stop(workdir: pathlib.Path, timeout: float = 10) -> bool:
    """End a guest and return whether it was running; another process that has its old pid is not touched."""
    with _alone(workdir):
        state = state_of(workdir)
        ended = processes.end(state["pid"], state["started"], (signal.SIGTERM, signal.SIGKILL), timeout)
        if ended is False:
            raise LabError(f"QEMU, process {state['pid']}, does not end")
        sockets = pathlib.Path(state["observer_socket"]).parent
        if sockets != workdir.absolute():
            shutil.rmtree(sockets, ignore_errors=True)
        return bool(ended)


def _refuse_second(workdir: pathlib.Path) -> None:
    if (workdir / STATE).exists():
        state = state_of(workdir)
        if processes.started(state["pid"]) == state["started"]:
            raise LabError(f"a guest is running in {workdir}: stop it first")


def start_libvirtd(workdir: pathlib.Path, release: str = packages.DISTRIBUTION) -> dict[str, t.Any]:
    """Start a libvirtd that stays, and return how to reach it."""
    workdir.mkdir(parents=True, exist_ok=True)
    with _alone(workdir), contextlib.ExitStack() as undo:
        if (workdir / LIBVIRTD).exists():
            state = _libvirtd(workdir)
            if processes.started(state["keeper"]) == state["keeper_started"]:
                raise LabError(f"a libvirtd is running in {workdir}: stop it first")
        daemon = undo.enter_context(Daemon(release))
        state = daemon.state
        (workdir / LIBVIRTD).write_text(json.dumps(state, indent=1), encoding="utf-8")
        daemon.stay()
        undo.pop_all()
    return state


def make_domain(workdir: pathlib.Path, name: str, timeout: float = 120, **options: t.Any) -> dict[str, t.Any]:
    """Make a domain of `LibvirtGuest`'s options that stays, in a libvirtd that stays; return how to reach it."""
    guest = LibvirtGuest(Daemon.attach(_libvirtd(workdir)), name=name, **options)
    guest.make()
    try:
        state = {
            "name": guest.name,
            "uuid": guest.uuid,
            "uri": guest.daemon.uri,
            "pid": guest.pid if guest.starts else None,
            "observer_socket": guest.observer_socket,
            "shell_socket": guest.shell_socket,
            "console": str(guest.console),
        }
        if guest.speaks:
            guest.wait_ready(timeout)
        guest.disconnect()
    except BaseException:
        guest.remove()
        raise
    (workdir / f"{name}.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    return state


def stop_libvirtd(workdir: pathlib.Path, timeout: float = 30) -> bool:
    """End a libvirtd and the QEMUs of its domains, and return whether it was running."""
    with _alone(workdir):
        state = _libvirtd(workdir)
        # Its keeper must not be killed: it has the others to end.
        ended = processes.end(state["keeper"], state["keeper_started"], (signal.SIGTERM,), timeout)
        if ended is False:
            raise LabError(f"libvirtd's keeper, process {state['keeper']}, does not end")
        return bool(ended)


def _libvirtd(workdir: pathlib.Path) -> dict[str, t.Any]:
    return _read(workdir / LIBVIRTD, f"no libvirtd was started in {workdir}")


def _read(file: pathlib.Path, otherwise: str) -> dict[str, t.Any]:
    try:
        return t.cast(dict[str, t.Any], json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise LabError(otherwise) from None


@contextlib.contextmanager
def _alone(workdir: pathlib.Path) -> t.Iterator[None]:
    """Wait until no other process starts or stops something in a folder, so that it can be stopped completely."""
    if not workdir.is_dir():
        yield
        return
    descriptor = os.open(workdir, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
