# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that changes a guest: a plan's steps are carried out here, and in check mode they are not."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONNECTION_LOST,
    INTERNAL,
    PLUG_UNACKNOWLEDGED,
    UNPLUG_PENDING,
    UNPLUG_REFUSED,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    CONFIG,
    DISABLE,
    ENABLE,
    GUEST,
    OFFLINE,
    ONLINE,
    PLUG,
    UNPLUG,
    GuestState,
    OnlineState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, Answer, Machine
from ansible_collections.kvm.hotplug.plugins.module_utils.run import agent_steps
from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import UNDONE, Entry, Journal

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports

# A guest that was in order a moment ago needs no longer to take a step of its own back.
UNDO_SECONDS = 5.0

_REMEDIES = {
    UNPLUG_REFUSED: "see the guest's kernel log for what holds it, free it there, then run the task again",
    UNPLUG_PENDING: "",
    PLUG_UNACKNOWLEDGED: "or use guest_online: ignore",
}


class How(NamedTuple):
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
    hand = LiveSteps(journal, ports, state, how)
    try:
        await hand.plug()
        if journal.first_failure is None:
            await hand.give_up()
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
    if how.rollback:
        await hand.undo()
    raise _error(failure, journal)


class LiveSteps:
    """What changes a running guest: its machine, and its own system through the agent."""

    def __init__(self, journal: Journal, ports: Ports, state: GuestState, how: How) -> None:
        self._journal = journal
        self._machine = ports.machine
        self._agent = ports.agent
        self._state = state
        self._how = how

    async def plug(self) -> None:
        """All at once: a guest takes many insertions in the time of few."""
        entries = self._journal.of(PLUG)
        if entries and self._machine is not None:
            await self._plug(entries, self._machine)
        online = self._journal.of(ONLINE)
        if entries:
            await self._follow(entries, online)
        elif online:
            await self._ask_guest(agent_steps.set_online(online, *self._asked()))

    async def give_up(self) -> None:
        """One after another: guests were seen to wedge on a burst, and the first refusal ends it."""
        entries = self._journal.of(UNPLUG, OFFLINE)
        if entries and not self._journal.of(UNPLUG):
            await self._ask_guest(agent_steps.set_online(entries, *self._asked()))
            return
        drained: Entry | None = None
        for entry in entries:
            if entry.step.kind == OFFLINE:
                drained = entry
                await self._ask_guest(agent_steps.drain(entry, *self._asked()))
            elif self._machine is not None:
                entry.start()
                entry.end(await self._machine.unplug(entry.step.entity, self._how.timeout))
            if entry.failed:
                # The guest keeps the vCPU, so it shall have the use of it.
                if drained is not None and drained.step.entity == entry.step.entity:
                    await self._take_back(drained)
                return

    async def undo(self) -> None:
        """Take back what was done, in reverse, as far as the guest allows."""
        plugs = {entry.step.entity.index: entry for entry in self._journal.of(PLUG)}
        agent_answers = True
        for entry in reversed(self._journal.entries):
            if entry.step.target == GUEST:
                # What is unplugged again need not be taken offline first.
                if agent_answers and entry.step.entity.index not in plugs:
                    agent_answers = await self._take_back(entry)
                continue
            if not entry.took_effect or entry.step.target == CONFIG:
                continue
            if self._machine is None:
                return
            try:
                answer = await self._unplug_or_plug_again(entry, self._machine)
            except HotplugError as error:
                entry.detail = _joined(entry.detail, f"undoing it failed: {error.msg}")
                return
            _note_undone(entry, answer.detail if answer.status != DONE else "")
        for entry in self._journal.of(ONLINE):
            plug = plugs.get(entry.step.entity.index)
            if plug is not None and plug.status == UNDONE:
                _note_undone(entry, "")

    async def _plug(self, entries: list[Entry], machine: Machine) -> None:
        for entry in entries:
            entry.start()
        answers = await machine.plug([entry.step.entity for entry in entries])
        for entry in entries:
            entry.end(answers[entry.step.entity.index])
        # Those that had been there already were acknowledged, if ever, before this run could hear it.
        fresh = [entry for entry in entries if entry.status == DONE and entry.took_effect]
        if fresh and self._how.await_guest and not any(entry.code == CONNECTION_LOST for entry in entries):
            acknowledgements = await machine.await_insertion([entry.step.entity for entry in fresh], self._how.timeout)
            for entry in fresh:
                entry.end(acknowledgements[entry.step.entity.index])

    async def _follow(self, entries: Sequence[Entry], online: Sequence[Entry]) -> None:
        """Have the guest use what was plugged, also where not all was; not what is about to be unplugged again."""
        failure = self._journal.first_failure
        if failure is not None and (self._how.rollback or failure.code == CONNECTION_LOST):
            return
        plugged = [entry.step.entity for entry in entries if entry.status == DONE]
        following = [entry for entry in online if any(entry.step.entity == entity for entity in plugged)]
        if not following:
            return
        agent, before = self._asked()
        enabled = set(self._state.live.enabled) if self._state.live is not None else set()
        enabled.update(vcpu for entity in plugged for vcpu in entity.vcpus)
        layout = self._state.layout
        await self._ask_guest(
            agent_steps.follow_plugs(following, agent, before, layout.max_vcpus, enabled, self._how.timeout)
        )

    async def _ask_guest(self, steps: Awaitable[None]) -> None:
        """An agent that fails is the end of these steps, and no reason to leave undone what was to be rolled back."""
        try:
            await steps
        except HotplugError as error:
            self._journal.interrupt(error.code, error.msg)

    async def _unplug_or_plug_again(self, entry: Entry, machine: Machine) -> Answer:
        entity = entry.step.entity
        if entry.step.kind == PLUG:
            return await machine.unplug(entity, self._how.timeout)
        return (await machine.plug([entity]))[entity.index]

    async def _take_back(self, entry: Entry) -> bool:
        if entry.took_effect is False:
            return True
        reason = await agent_steps.undo(entry, *self._asked(), min(UNDO_SECONDS, self._how.timeout))
        _note_undone(entry, reason)
        return not reason

    def _asked(self) -> tuple[Agent, OnlineState]:
        if self._agent is None or self._state.online is None:
            raise HotplugError(INTERNAL, "a step for the guest's agent was planned without an agent")
        return self._agent, self._state.online


def _note_undone(entry: Entry, reason: str) -> None:
    if reason:
        entry.detail = _joined(entry.detail, f"undoing it failed: {reason}")
    elif entry.took_effect is not False:
        entry.took_effect = False
        entry.status = UNDONE


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
        is_enabled = not written.enabled.isdisjoint(entry.step.entity.vcpus)
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


def _error(failure: Entry, journal: Journal) -> HotplugError:
    if failure.code == CONNECTION_LOST:
        return HotplugError(CONNECTION_LOST, failure.detail)
    if failure.step.target == CONFIG:
        return HotplugError(failure.code or INTERNAL, f"could not write the config state: {failure.detail}")
    parts = [
        f"could not {failure.step.kind} vCPU {failure.vcpus}: {failure.detail}",
        _REMEDIES.get(failure.code or "", ""),
    ]
    undone = [entry for entry in journal.entries if entry.status == UNDONE]
    if undone:
        parts.append("what this run had done was undone, see steps")
    return HotplugError(failure.code or INTERNAL, "; ".join(part for part in parts if part))


def _joined(detail: str, more: str) -> str:
    return f"{detail}; {more}" if detail else more
