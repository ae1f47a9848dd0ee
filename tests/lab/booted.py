# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests that continue from the saved state of one that has booted: a tenth of the time of a boot under TCG."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import tempfile
import time
import typing as t
import uuid

from . import LabError, binaries
from .contact import Contact
from .daemon import Daemon
from .domains import LibvirtGuest
from .guest import Guest

LIMIT = 60
TIMER_LIMIT = 30
UNLIMITED = 1 << 40
# A CPU whose timer was lost with the state wakes for nothing but interrupts, and hangs later, when it is offlined.
SLEEP_ON_EACH_CPU = """
    for cpu in $(grep processor /proc/cpuinfo | cut -d: -f2); do
        taskset -c $cpu usleep 1000 || exit
    done
"""
Options = t.Mapping[str, t.Any]


class SavedStates:
    """Files with states of booted guests in a folder that processes may share."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def find(self, options: Options, save: t.Callable[[pathlib.Path], None], anew: bool = False) -> pathlib.Path | None:
        """Return the state of a guest of these options, which `save` writes once.

        Return None the first time: most states that are asked for once are never asked for again. Remove the state and
        return None if the guest is to boot `anew`.
        """
        name = "saved-" + hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()[:16]
        state = self.folder / name
        with (self.folder / f"{name}.lock").open("a+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if anew:
                state.unlink(missing_ok=True)
                return None
            if not state.exists():
                if not os.fstat(lock.fileno()).st_size:
                    lock.write("asked for once\n")
                    return None
                save(state)
        return state


@contextlib.contextmanager
def shared_states(folder: pathlib.Path) -> t.Iterator[SavedStates]:
    """States in a folder that the processes of one test run share; the last of them to leave removes it."""
    folder.mkdir(exist_ok=True)
    with (folder / "users.lock").open("a", encoding="utf-8") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield SavedStates(folder)
        finally:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def guest(workdir: pathlib.Path, states: SavedStates, options: Options, anew: bool = False) -> Guest:
    """Return a guest that continues from its saved state or, the first time and `anew`, boots."""
    options = {**options, "qemu": binaries.resolve(options.get("qemu"), options.get("arch", "x86_64"))}
    state = states.find(options, lambda path: _save_guest(path, options), anew)
    if state is None:
        return Guest(workdir, **options)
    return _Continued(workdir, state, options)


def domain(daemon: Daemon, options: Options, anew: bool = False) -> LibvirtGuest:
    """Return a domain that is restored from its saved state or, the first time and `anew`, boots."""
    options = {**options, "qemu": binaries.resolve(options.get("qemu"))}
    identity = uuid.uuid5(uuid.NAMESPACE_OID, repr(sorted(options.items())))
    options = {"uuid": str(identity), **options}
    states = SavedStates(daemon.folder / "guests")
    state = states.find(options, lambda path: _save_domain(path, daemon, options), anew)
    if state is None:
        return LibvirtGuest(daemon, **options)
    return _Restored(daemon, state, options)


class _Checked(Contact):
    """A guest whose CPUs are checked when it is waited for; a state that lacks something is removed."""

    loaded: pathlib.Path

    def wait_ready(self, timeout: float = LIMIT) -> float:
        began = time.monotonic()
        super().wait_ready(timeout)
        try:
            self.shell(SLEEP_ON_EACH_CPU, timeout=TIMER_LIMIT)
        except TimeoutError:
            self.loaded.unlink(missing_ok=True)
            raise LabError(f"a CPU of the guest runs no timer after the load of {self.loaded}") from None
        return time.monotonic() - began


class _Restored(_Checked, LibvirtGuest):
    def __init__(self, daemon: Daemon, state: pathlib.Path, options: Options) -> None:
        self.loaded = state
        super().__init__(daemon, saved=state, **options)


class _Continued(_Checked, Guest):
    def __init__(self, workdir: pathlib.Path, state: pathlib.Path, options: Options) -> None:
        self.loaded = state
        super().__init__(workdir, **{**options, "extra": (*options.get("extra", ()), "-incoming", f"exec:cat {state}")})

    def start(self, detached: bool = False) -> None:
        super().start(detached)
        _wait(lambda: self.observer.execute("query-status")["status"] != "inmigrate")
        self.observer.execute("cont")


def _save_guest(state: pathlib.Path, options: Options) -> None:
    with tempfile.TemporaryDirectory(prefix="lab-") as scratch, Guest(scratch, **options) as booted:
        booted.wait_ready()
        booted.hang_up()
        new = state.with_suffix(".new")
        booted.observer.execute("stop")
        booted.observer.execute("migrate-set-parameters", **{"max-bandwidth": UNLIMITED})
        booted.observer.execute("migrate", uri=f"exec:cat > {new}")
        _wait(lambda: booted.observer.execute("query-migrate")["status"] in ("completed", "failed"))
        if booted.observer.execute("query-migrate")["status"] == "failed":
            raise LabError(f"QEMU could not save the state of a guest: {booted.observer.execute('query-migrate')}")
        new.rename(state)


def _save_domain(state: pathlib.Path, daemon: Daemon, options: Options) -> None:
    with LibvirtGuest(daemon, **options) as booted:
        booted.wait_ready()
        booted.save(state)


def _wait(reached: t.Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not reached():
        if time.monotonic() > deadline:
            raise LabError(f"the state of a guest was not transferred within {LIMIT} s")
        time.sleep(0.02)
