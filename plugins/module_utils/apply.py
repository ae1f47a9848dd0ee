# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that changes a guest: a plan's steps are carried out here, and in check mode they are not."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONNECTION_LOST,
    INTERNAL,
    PLUG_UNACKNOWLEDGED,
    UNPLUG_PENDING,
    UNPLUG_REFUSED,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.journal import UNDONE, Entry, Journal
from ansible_collections.kvm.hotplug.plugins.module_utils.machine.port import DONE, FAILED, Answer, Machine
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    CONFIG,
    DISABLE,
    ENABLE,
    LIVE,
    PLUG,
    UNPLUG,
    GuestState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports import Ports

_REMEDIES = {
    UNPLUG_REFUSED: "see the guest's kernel log for what holds it, free it there, then run the task again",
    UNPLUG_PENDING: "",
    PLUG_UNACKNOWLEDGED: "or use guest_online: ignore",
}


@dataclass(frozen=True)
class How:
    """How to carry a plan out; ``timeout`` in seconds, what the guest may take over one step."""

    check_mode: bool = False
    await_guest: bool = True
    timeout: float = 60.0
    rollback: bool = False


async def carry_out(journal: Journal, ports: Ports, state: GuestState, how: How) -> bool:
    """Take the journal's steps in order and record there what became of each; False when they stay planned.

    Raises ``HotplugError`` after the first step that failed, when those before it have been undone if
    that was asked for; the journal then tells what was done, what not, and what is still pending.
    """
    if how.check_mode:
        return False
    machine = ports.machine
    try:
        if machine is not None:
            await _plug(journal.of(PLUG), machine, how)
            if journal.first_failure is None:
                await _unplug(journal.of(UNPLUG), machine, how)
        if journal.first_failure is None or not how.rollback:
            await _write_config(journal, ports, state)
    except BaseException as error:
        lost = error if isinstance(error, HotplugError) else HotplugError(INTERNAL, type(error).__name__)
        journal.interrupt(lost.code, lost.msg)
        journal.skip_the_rest()
        raise
    failure = journal.first_failure
    if failure is None:
        return True
    journal.skip_the_rest()
    if how.rollback and machine is not None:
        await _undo(journal, machine, how)
    raise _error(failure, journal)


async def _plug(entries: list[Entry], machine: Machine, how: How) -> None:
    """All at once: a guest takes many insertions in the time of few."""
    if not entries:
        return
    for entry in entries:
        entry.start()
    answers = await machine.plug([entry.step.entity for entry in entries])
    for entry in entries:
        entry.end(answers[entry.step.entity.index])
    # Those that had been there already were acknowledged, if ever, before this run could hear it.
    fresh = [entry for entry in entries if entry.status == DONE and entry.took_effect]
    if fresh and how.await_guest and not any(entry.code == CONNECTION_LOST for entry in entries):
        acknowledgements = await machine.await_insertion([entry.step.entity for entry in fresh], how.timeout)
        for entry in fresh:
            entry.end(acknowledgements[entry.step.entity.index])


async def _unplug(entries: list[Entry], machine: Machine, how: How) -> None:
    """One after another: guests were seen to wedge on a burst, and the first refusal ends it."""
    for entry in entries:
        entry.start()
        entry.end(await machine.unplug(entry.step.entity, how.timeout))
        if entry.failed:
            return


async def _write_config(journal: Journal, ports: Ports, state: GuestState) -> None:
    """All in one write, and after the live steps: config never gets ahead of what the guest could be brought to."""
    config = ports.config
    entries = [entry for entry in journal.of(ENABLE, DISABLE) if _live_agrees(entry, journal)]
    if config is None or state.config is None or not entries:
        return
    enabled = set(state.config.enabled)
    for entry in entries:
        entry.start()
        members = entry.step.entity.vcpus
        if entry.step.kind == ENABLE:
            enabled.update(members)
        else:
            enabled.difference_update(members)
    try:
        written = await config.write(frozenset(enabled), state.layout)
    except HotplugError as error:
        for entry in entries:
            entry.end(Answer(FAILED, took_effect=_unknown_if_lost(error), detail=error.msg, code=error.code))
        return
    journal.backup_file = written.backup_file
    for entry in entries:
        is_enabled = not written.domain.enabled.isdisjoint(entry.step.entity.vcpus)
        if written.failure is None or is_enabled is (entry.step.kind == ENABLE):
            entry.end(Answer(DONE, took_effect=True))
        else:
            entry.end(Answer(FAILED, detail=written.failure.msg, code=written.failure.code))


def _unknown_if_lost(error: HotplugError) -> bool | None:
    return None if error.code == CONNECTION_LOST else False


def _live_agrees(config_entry: Entry, journal: Journal) -> bool:
    """Whether the live step of the same entity, if there was one, was done."""
    return all(
        entry.status == DONE
        for entry in journal.of(PLUG, UNPLUG)
        if entry.step.entity.index == config_entry.step.entity.index
    )


async def _undo(journal: Journal, machine: Machine, how: How) -> None:
    for entry in reversed(journal.entries):
        if not entry.took_effect or entry.step.target != LIVE:
            continue
        try:
            if entry.step.kind == PLUG:
                answer = await machine.unplug(entry.step.entity, how.timeout)
            else:
                answer = (await machine.plug([entry.step.entity]))[entry.step.entity.index]
        except HotplugError as error:
            entry.detail = _joined(entry.detail, f"undoing it failed: {error.msg}")
            return
        if answer.status == DONE:
            entry.took_effect = False
            entry.status = UNDONE
        else:
            entry.detail = _joined(entry.detail, f"undoing it failed: {answer.detail}")


def _error(failure: Entry, journal: Journal) -> HotplugError:
    if failure.code == CONNECTION_LOST:
        return HotplugError(CONNECTION_LOST, failure.detail)
    if failure.step.target == CONFIG:
        return HotplugError(failure.code or INTERNAL, f"could not write the config state: {failure.detail}")
    verb = "plug" if failure.step.kind == PLUG else "unplug"
    parts = [f"could not {verb} vCPU {failure.vcpus}: {failure.detail}", _REMEDIES.get(failure.code or "", "")]
    undone = [entry for entry in journal.entries if entry.status == UNDONE]
    if undone:
        parts.append("what this run had done was undone, see steps")
    return HotplugError(failure.code or INTERNAL, "; ".join(part for part in parts if part))


def _joined(detail: str, more: str) -> str:
    return f"{detail}; {more}" if detail else more
