# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run states of a QEMU: the name of each for users, and its blocker, for QMP and libvirt alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import blockers

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Blocker

RUNNING = "running"
PAUSED = "paused"
SHUTOFF = "shutoff"
CRASHED = "crashed"
PMSUSPENDED = "pmsuspended"


class RunState(NamedTuple):
    """A state by QEMU's name for it.

    ``word`` is libvirt's name for the state, which users see; ``blocker`` is why nothing can be changed in it.
    """

    name: str
    word: str = PAUSED
    blocker: Blocker | None = None

    @property
    def running(self) -> bool:
        return self.word == RUNNING

    @property
    def described(self) -> str:
        """The name of the state in libvirt, with QEMU's name if that is more precise."""
        return self.word if self.name == self.word else f"{self.word} ({self.name})"


_STATES: Mapping[str, RunState] = {
    state.name: state
    for state in (
        RunState("running", RUNNING),
        RunState("paused"),
        RunState("prelaunch"),
        RunState("debug"),
        RunState("save-vm"),
        RunState("restore-vm"),
        RunState("io-error"),
        RunState("watchdog"),
        RunState("internal-error"),
        RunState("suspended", PMSUSPENDED),
        RunState("shutdown", SHUTOFF),
        RunState("guest-panicked", CRASHED),
        RunState("inmigrate", blocker=blockers.MIGRATION_TARGET),
        RunState("finish-migrate", blocker=blockers.MIGRATING),
        RunState("colo", blocker=blockers.MIGRATING),
        RunState("postmigrate", blocker=blockers.MIGRATED),
    )
}

# virDomainState; where it has several reasons, with virDomainPausedReason. A domain that libvirt calls blocked runs on,
# and one in shutdown has powered off.
_BY_DOMAIN_STATE: Mapping[int, str] = {
    1: "running",
    2: "running",
    3: "paused",
    4: "shutdown",
    5: "shutdown",
    6: "guest-panicked",
    7: "suspended",
}
_DOMAIN_PAUSED = 3
# virDomainState with virDomainRunningReason: migrated, restored and from snapshot.
_LOADED = ((1, 2), (1, 3), (1, 4))
_BY_PAUSED_REASON: Mapping[int, str] = {
    2: "finish-migrate",
    3: "save-vm",
    5: "io-error",
    6: "watchdog",
    8: "shutdown",
    10: "guest-panicked",
    11: "prelaunch",
    12: "finish-migrate",
    13: "finish-migrate",
}


def run_state(name: str) -> RunState:
    """Return the state of this name in query-status; an unknown one is paused."""
    return _STATES.get(name) or RunState(name)


def run_state_of_domain(state: int, reason: int) -> RunState:
    """Return the state of a libvirt domain: its virDomainState, and the reason of that."""
    name = _BY_PAUSED_REASON.get(reason) if state == _DOMAIN_PAUSED else None
    return run_state(name or _BY_DOMAIN_STATE.get(state, "paused"))


def was_migrated(state: int, reason: int) -> bool:
    """Return whether a libvirt domain runs because its state was loaded, by a migration, a restore or a snapshot."""
    return (state, reason) in _LOADED
