# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply a plan in phases, except in check mode. Only this module changes a guest."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Callable, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    AGENT_ERROR,
    CONNECTION_LOST,
    INTERNAL,
    PLUG_UNACKNOWLEDGED,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    ADD,
    CONFIG,
    DISABLE,
    ENABLE,
    OFFLINE,
    ONLINE,
    PLACE,
    PLUG,
    REMOVE,
    UNPLUG,
    GuestState,
    StepKind,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.run.config_steps import write_config
from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import UNDONE, Entry, Journal
from ansible_collections.kvm.hotplug.plugins.module_utils.run.live_steps import LiveSteps

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request

# Known of QEMU 10.1.
_REBOOT = (
    "the guest was migrated to this QEMU, or restored by it; some versions of QEMU then plug vCPUs that the guest OS "
    "cannot online until it is rebooted: reboot the guest if it has not been rebooted since"
)


class _Phase(NamedTuple):
    """The steps of these kinds, and their handler.

    ``after_failure``: it also runs after an earlier step failed; the handler skips the entities of that step.
    ``before_rollback``: it then runs even if completed steps will be undone.
    """

    kinds: tuple[StepKind, ...]
    carry_out: Callable[[LiveSteps, list[Entry]], Awaitable[None]]
    after_failure: bool = False
    before_rollback: bool = False


# Plugs come before unplugs, so that the guest never has fewer vCPUs than before and after. Config comes last, so that
# it contains only what the live state has reached.
_PHASES = (
    _Phase((PLUG,), LiveSteps.plug),
    _Phase((PLACE,), LiveSteps.place, after_failure=True),
    _Phase((PLUG,), LiveSteps.acknowledge, after_failure=True, before_rollback=True),
    _Phase((ONLINE,), LiveSteps.online, after_failure=True),
    _Phase((OFFLINE, UNPLUG), LiveSteps.unplug),
    _Phase((ADD, ENABLE, DISABLE, REMOVE), write_config, after_failure=True),
    # An earlier failure has nothing to do with these vCPUs, and theirs undoes nothing.
    _Phase((PLACE,), LiveSteps.place_again, after_failure=True, before_rollback=True),
)


async def carry_out(journal: Journal, ports: Ports, state: GuestState, request: Request) -> bool:
    """Take the journal's steps in phases and record the outcome of each there; False if they stay planned.

    Raises ``HotplugError`` for the first step that failed, after a rollback if that was requested; the journal then
    contains the status of each step.
    """
    if request.check_mode:
        return False
    live = LiveSteps(journal, ports, state, request)
    try:
        for phase in _PHASES:
            entries = journal.of(*phase.kinds)
            if entries and _is_due(phase, journal, request):
                await phase.carry_out(live, entries)
    except Exception as error:
        lost = error if isinstance(error, HotplugError) else HotplugError(INTERNAL, type(error).__name__)
        journal.interrupt(lost.code, lost.msg)
        journal.skip_the_rest()
        raise
    failure = journal.first_failure
    if failure is None:
        return True
    journal.skip_the_rest()
    if request.rollback and not journal.is_repair(failure):
        await live.undo()
    raise _error(failure, journal, state)


def _is_due(phase: _Phase, journal: Journal, request: Request) -> bool:
    if journal.first_failure is None:
        return True
    return phase.before_rollback if request.rollback else phase.after_failure


def _error(failure: Entry, journal: Journal, state: GuestState) -> HotplugError:
    if failure.code == CONNECTION_LOST:
        return HotplugError(CONNECTION_LOST, failure.detail)
    if failure.step.target == CONFIG:
        return HotplugError(failure.code or INTERNAL, f"could not write the config state: {failure.detail}")
    parts = [f"could not {failure.step.kind.name} vCPU {failure.vcpus}: {failure.detail}"]
    if failure.code == PLUG_UNACKNOWLEDGED:
        parts.append("or use guest_online: ignore")
    if state.live is not None and state.live.migrated and _is_unused(failure):
        parts.append(_REBOOT)
    if any(entry.status == UNDONE for entry in journal.entries):
        parts.append("the completed steps of this run were undone, see steps")
    return HotplugError(failure.code or INTERNAL, "; ".join(parts))


def _is_unused(failure: Entry) -> bool:
    """Whether the vCPU was plugged, but the guest OS does not use it."""
    return failure.step.kind in (PLUG, ONLINE) and failure.code in (PLUG_UNACKNOWLEDGED, AGENT_ERROR)
