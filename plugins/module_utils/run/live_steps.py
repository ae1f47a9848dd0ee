# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a running guest, by its machine and its agent; only ``apply`` calls them."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONNECTION_LOST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    CONFIG,
    GUEST,
    OFFLINE,
    ONLINE,
    PLACE,
    PLUG,
    UNPLUG,
    Entity,
    GuestState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, Machine, StepOutcome
from ansible_collections.kvm.hotplug.plugins.module_utils.run import agent_steps
from ansible_collections.kvm.hotplug.plugins.module_utils.run.interruption import completed
from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import UNDONE, Entry, Journal
from ansible_collections.kvm.hotplug.plugins.module_utils.run.online_wait import OnlineWait
from ansible_collections.kvm.hotplug.plugins.module_utils.run.placement_steps import PlacementSteps

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request

# A guest that has just replied does not need more time to undo a step.
UNDO_SECONDS = 5.0


class LiveSteps:
    """One run's steps on a running guest; ``state`` is the state observed before them.

    Its methods record the outcome of each step in the journal's entries. They raise ``HotplugError`` if the connection
    to the guest is lost, and ``RuntimeError`` for steps that no plan of this guest can contain.
    """

    def __init__(self, journal: Journal, ports: Ports, state: GuestState, request: Request) -> None:
        self.journal = journal
        self.ports = ports
        self.state = state
        self.request = request
        self._placement = PlacementSteps(ports, state, request.cputune)

    async def plug(self, entries: Sequence[Entry]) -> None:
        """Plug all entities at once: a guest acknowledges many plugs in the time of a few."""
        for entry in entries:
            entry.start()
        answers = await completed(self._machine.plug([entry.step.entity for entry in entries]))
        for entry in entries:
            entry.end(answers[entry.step.entity.index])

    async def place(self, entries: Sequence[Entry]) -> None:
        """Place the threads of vCPUs that were plugged."""
        plugged = {entry.step.entity.index for entry in self.journal.of(PLUG) if entry.status == DONE}
        await self._place([entry for entry in entries if entry.step.entity.index in plugged])

    async def place_again(self, entries: Sequence[Entry]) -> None:
        """Place the threads of other vCPUs, which have drifted."""
        await self._place([entry for entry in entries if self.journal.is_repair(entry)])

    async def _place(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            entry.start()
        if entries:
            await completed(self._placement.place(entries, again=self.journal.is_repair(entries[0])))

    async def acknowledge(self, entries: Sequence[Entry]) -> None:
        """Wait for the guest's acknowledgement of the plugs."""
        # Entities that were plugged before were acknowledged, if at all, before this run could receive it.
        fresh = [entry for entry in entries if entry.status == DONE and entry.took_effect]
        if not fresh or not self._acknowledges or any(entry.code == CONNECTION_LOST for entry in entries):
            return
        entities = [entry.step.entity for entry in fresh]
        acknowledgements = await self._machine.await_insertion(entities, self.request.timeout)
        for entry in fresh:
            entry.end(acknowledgements[entry.step.entity.index])

    async def online(self, entries: Sequence[Entry]) -> None:
        """Have the guest OS online vCPUs: with method agent those of the plan, else those that were plugged."""
        plugs = self.journal.of(PLUG)
        if not plugs:
            await self._request_from_guest(agent_steps.set_online(entries, self._agent))
            return
        plugged = [entry.step.entity for entry in plugs if entry.status == DONE]
        following = [entry for entry in entries if any(entry.step.entity == entity for entity in plugged)]
        if not following or any(entry.code == CONNECTION_LOST for entry in plugs):
            return
        wait = OnlineWait(self._agent, following, self._machine.latest().live.enabled)
        await self._request_from_guest(wait.finish(self.request.timeout))

    async def unplug(self, entries: Sequence[Entry]) -> None:
        """Unplug one entity after the other: many requests at once can hang guests, and the first refusal ends it."""
        if not self.journal.of(UNPLUG):
            await self._request_from_guest(agent_steps.set_online(entries, self._agent))
            return
        drained: Entry | None = None
        for entry in entries:
            if entry.step.kind == OFFLINE:
                drained = entry
                await self._request_from_guest(agent_steps.drain(entry, self._agent, self._online))
            else:
                entry.start()
                entry.end(await self._unplug(entry.step.entity))
            if entry.failed:
                # The vCPU stays, so it is onlined again.
                if drained is not None and drained.step.entity == entry.step.entity:
                    await self._undo_in_guest(drained)
                return

    async def undo(self) -> None:
        """Undo completed steps in reverse order, as far as the guest allows it."""
        plugs = {entry.step.entity.index: entry for entry in self.journal.of(PLUG)}
        agent_replies = True
        for entry in reversed(self.journal.entries):
            if entry.step.target == GUEST:
                # A vCPU that is unplugged again need not be offlined first.
                if agent_replies and entry.step.entity.index not in plugs:
                    agent_replies = await self._undo_in_guest(entry)
                continue
            if not entry.took_effect or entry.step.target == CONFIG:
                continue
            if entry.step.kind.adds is None:
                # A placement ends with the thread of the vCPU, which is unplugged again.
                continue
            try:
                answer = await self._undo_in_machine(entry)
            except HotplugError as error:
                _note_undone(entry, error.msg)
                return
            _note_undone(entry, answer.detail if answer.status != DONE else "")
        for entry in self.journal.of(ONLINE, PLACE):
            plug = plugs.get(entry.step.entity.index)
            if plug is not None and plug.status == UNDONE:
                _note_undone(entry, "")

    @property
    def _acknowledges(self) -> bool:
        """Whether the guest acknowledges plugs; one that does not run acknowledges nothing."""
        live = self.state.live
        return live is not None and live.running and live.acknowledges and self.request.guest_online != "ignore"

    @property
    def _machine(self) -> Machine:
        if self.ports.machine is None:
            raise RuntimeError("live steps were planned for a guest without a machine")
        return self.ports.machine

    @property
    def _agent(self) -> Agent:
        if self.ports.agent is None or self.state.online is None:
            raise RuntimeError("steps of the guest OS were planned for a guest without an agent")
        return self.ports.agent

    @property
    def _online(self) -> frozenset[int]:
        """The vCPUs that the guest OS ran on before this run."""
        return self.state.online.enabled if self.state.online is not None else frozenset()

    async def _request_from_guest(self, steps: Awaitable[None]) -> None:
        """A failure of the agent ends these steps; the other steps can still be rolled back."""
        try:
            await steps
        except HotplugError as error:
            self.journal.interrupt(error.code, error.msg)

    async def _unplug(self, entity: Entity) -> StepOutcome:
        outcome = await self._machine.unplug(entity, self.request.timeout)
        if outcome.status == DONE:
            await self._placement.release(entity.vcpus)
        return outcome

    async def _undo_in_machine(self, entry: Entry) -> StepOutcome:
        entity = entry.step.entity
        if entry.step.kind.adds:
            return await self._unplug(entity)
        risk = self.state.live.unsafe_plugs.get(entity.index) if self.state.live is not None else None
        if risk is not None:
            # A rollback never risks the guest, even with force.
            return StepOutcome(FAILED, detail=f"plugging it again may end the guest: {risk.reason}", code=risk.code)
        return (await self._machine.plug([entity]))[entity.index]

    async def _undo_in_guest(self, entry: Entry) -> bool:
        """Return whether the agent replied."""
        if entry.took_effect is False:
            return True
        plugged = None if self.ports.machine is None else self.ports.machine.latest().live.enabled
        timeout = min(UNDO_SECONDS, self.request.timeout)
        reason = await agent_steps.undo(entry, self._agent, self._online, plugged, timeout)
        _note_undone(entry, reason)
        return not reason


def _note_undone(entry: Entry, reason: str) -> None:
    if reason:
        note = f"undoing it failed: {reason}"
        entry.detail = f"{entry.detail}; {note}" if entry.detail else note
    elif entry.took_effect is not False:
        entry.took_effect = False
        entry.status = UNDONE
