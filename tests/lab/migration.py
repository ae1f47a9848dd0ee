# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Migrate a guest to a QEMU that waits for it."""

from __future__ import annotations

import os
import time
import typing as t

from . import LabError

if t.TYPE_CHECKING:
    from .observer import Monitor

# A guest of 32 MiB migrates in a fraction of that.
LIMIT = 60.0
ENDED = ("completed", "failed", "cancelled")


def migrate(source: Monitor, destination: Monitor, path: str | os.PathLike[str]) -> None:
    """Migrate over a new UNIX socket at `path`; return when the guest has left the source and is at the destination.

    With `return-path`, as libvirt has it, the source learns whether the destination could load the guest.
    """
    for monitor in (source, destination):
        monitor.execute("migrate-set-capabilities", capabilities=[{"capability": "return-path", "state": True}])
    uri = f"unix:{os.fspath(path)}"
    destination.execute("migrate-incoming", uri=uri)
    source.execute("migrate", uri=uri)
    reached = wait_migration(source, *ENDED)
    if reached != "completed":
        raise LabError(f"the migration {reached}: {source.execute('query-migrate')}")
    wait_migration(destination, "completed")
    wait(lambda: destination.execute("query-status")["status"] != "inmigrate", "the destination still waits")


def wait_migration(monitor: Monitor, *statuses: str) -> str:
    """Wait until query-migrate reports one of these statuses, and return it."""

    def status() -> str:
        return str(monitor.execute("query-migrate").get("status", ""))

    wait(lambda: status() in statuses, f"the migration has not reached {statuses}")
    return status()


def wait_run_state(monitor: Monitor, name: str) -> None:
    """Wait until query-status reports this state."""
    wait(lambda: monitor.execute("query-status")["status"] == name, f"QEMU has not reached {name}")


def wait(reached: t.Callable[[], bool], otherwise: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + LIMIT
    while not reached():
        if time.monotonic() > deadline:
            raise LabError(f"{otherwise} after {LIMIT:g} s")
        time.sleep(0.02)
