# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine port over QMP, for changing a QEMU guest not managed by libvirt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import acpi, reuse
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.arguments import alias_for
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.error_texts import classify
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import Slot, invalid_reply, read_slots
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp import notes
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.reader import AskHost, QmpReader
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.view import QUESTIONS
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    INTERNAL,
    NOT_HOTPLUGGABLE,
    UNPLUG_PENDING,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, MachineView, StepOutcome

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.handshake import Handshake
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.ost_tracker import OstTracker
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.unplug_request import UnplugRequest
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity


class QmpMachine(QmpReader):
    """The machine at one QMP socket; its arguments are those of ``QmpReader``.

    It receives events from the first change on: most runs of a playbook change nothing.
    """

    def __init__(self, address: str, timeout: float, takes_back: AskHost | None = None) -> None:
        super().__init__(address, timeout, takes_back)
        self._ost: OstTracker | None = None
        self._slots: dict[int, Slot] = {}
        self._handshake: Handshake | None = None
        self._request: UnplugRequest | None = None
        self._acknowledges = False

    async def observe(self) -> MachineView:
        view = await self._read()
        self._know(view.slots)
        self._acknowledges = view.acknowledges
        return self._machine_view(view)

    def latest(self) -> MachineView:
        return self._machine_view(self._latest)

    async def plug(self, entities: Sequence[Entity]) -> dict[int, StepOutcome]:
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.removals import ids_after_removals

        slots = [self._slots[entity.index] for entity in entities]
        try:
            taken = await ids_after_removals(self._monitor, {slot.driver for slot in slots})
        except HotplugError as error:
            nothing_sent = StepOutcome(FAILED, detail=error.msg, code=error.code)
            return {slot.entity.index: nothing_sent for slot in slots}
        handshake, ost = self._listen()
        for slot in slots:
            ost.clear(slot.entity.index)
        adds = [("device_add", {"driver": slot.driver, "id": alias_for(slot, taken), **slot.props}) for slot in slots]
        view = self._latest
        listens = await self.is_listening()
        handshake.before_plug(starts=not view.ready if listens is None else not listens)
        # Before the plug, because the vCPU may run immediately afterwards.
        outdated = [note for note in view.notes if note.slot in {slot.entity.index for slot in slots}]
        # The verifying query is sent with the commands: QEMU replies in order, and a running guest delays each
        # further query.
        *replies, slots_reply, cpus_reply, notes_reply = await self._monitor.execute_all(
            [*map(notes.remove, outdated), *adds, QUESTIONS["slots"], QUESTIONS["cpus"], notes.LIST]
        )
        replies = replies[len(outdated) :]
        for lost in (slots_reply, cpus_reply, notes_reply):
            if isinstance(lost, HotplugError):
                return {slot.entity.index: _unverified(reply, lost) for slot, reply in zip(slots, replies)}
        self._keep(notes=notes_reply, cpus=cpus_reply)
        self._see(slots_reply)
        return {slot.entity.index: self._plugged(slot, reply) for slot, reply in zip(slots, replies)}

    async def await_insertion(self, entities: Sequence[Entity], timeout: float) -> dict[int, StepOutcome]:
        return await self._listen()[0].await_insertion(entities, timeout)

    async def unplug(self, entity: Entity, timeout: float) -> StepOutcome:
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.unplug_request import UnplugRequest

        never_ran = self._takes_back is False and await self._has_never_run(entity)
        view = self._latest
        is_requested = entity.index in view.requested
        self._request = UnplugRequest(self._monitor, view.unplug_note(entity.index), is_requested)
        answer = await self._listen()[0].unplug(
            entity, timeout, at_work=entity.index in view.ejecting, requested=is_requested
        )
        answer = await self._request.end(answer)
        if never_ran and answer.took_effect:
            await self._monitor.execute_all([notes.add(notes.Note(notes.NEVER_RAN, entity.index))])
        self._keep(notes=await self._ask(*notes.LIST))
        return answer

    async def _has_never_run(self, entity: Entity) -> bool:
        exits = reuse.read_exits(list(self._slots.values()), await self._exits())
        return exits.get(entity.index) == 0

    async def settle(self, entities: Sequence[Entity], timeout: float) -> None:
        await self._listen()[0].settle(entities, timeout, self._latest.requested)

    async def refresh(self) -> None:
        """Query which slots are occupied now."""
        try:
            self._see(await self._monitor.execute("query-hotpluggable-cpus"))
        except CommandError as refusal:
            raise invalid_reply("query-hotpluggable-cpus", refusal.desc) from refusal

    def is_plugged(self, entity: Entity) -> bool:
        """Return whether ``entity`` was plugged at the last query."""
        return self._slots[entity.index].qom_path is not None

    async def is_listening(self) -> bool | None:
        """Return whether the guest handles hotplug events now; None if QEMU does not show it."""
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.readiness import is_listening

        return await is_listening(self._monitor.execute)

    async def request_eject(self, entity: Entity, deadline: float) -> StepOutcome | None:
        """Send the unplug request through QEMU; return None if it was sent, else the reason."""
        if self._request is None:
            raise RuntimeError("an unplug was sent without a request")
        refusal = await self._request.send(self._slots[entity.index].qom_path)
        if refusal is None:
            return None
        code, remedy = classify(refusal.desc)
        if code == UNPLUG_PENDING:
            return None
        return StepOutcome(FAILED, detail=f"QEMU refused: {refusal.desc}; {remedy}", code=code or NOT_HOTPLUGGABLE)

    async def latest_statuses(self) -> dict[int, acpi.OstStatus | None] | None:
        """Return the latest status of each slot, as QEMU keeps it."""
        try:
            return acpi.read_ospm_status(await self._monitor.execute("query-acpi-ospm-status"))
        except CommandError:
            # Then only events are available.
            return None

    def _see(self, slots_reply: Any) -> None:
        slots = read_slots(slots_reply)
        if [slot.entity for slot in slots] != [slot.entity for slot in self._slots.values()]:
            raise invalid_reply("query-hotpluggable-cpus", slots_reply)
        self._know(slots)
        self._keep(slots=slots_reply)

    def _know(self, slots: Sequence[Slot]) -> None:
        self._slots = {slot.entity.index: slot for slot in slots}
        if self._ost is not None:
            self._expect(self._ost)

    def _listen(self) -> tuple[Handshake, OstTracker]:
        """Return the handshake, and what receives the guest's reports for it from the first call on."""
        if self._handshake is None or self._ost is None:
            from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.handshake import Handshake
            from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.ost_tracker import OstTracker

            self._ost = OstTracker()
            self._handshake = Handshake(self, self._ost)
            self._expect(self._ost)
            self._monitor.on_event(self._ost.process)
        # On other machines an unplug ends with a reset, or cannot be repeated while it is in progress.
        self._handshake.latches = self._acknowledges
        return self._handshake, self._ost

    def _expect(self, ost: OstTracker) -> None:
        """Give the tracker the slots, and the names by which events name them."""
        named: dict[str, int] = {}
        for slot in self._slots.values():
            for name in (slot.qom_path, slot.alias):
                if name is not None:
                    named[name] = slot.entity.index
        ost.expect(frozenset(self._slots), named)

    def _plugged(self, slot: Slot, reply: Any) -> StepOutcome:
        """The outcome of a device_add, by the slot's state after it."""
        if self.is_plugged(slot.entity):
            if isinstance(reply, CommandError):
                return StepOutcome(DONE, detail="it was plugged already")
            return StepOutcome(DONE, took_effect=True)
        if isinstance(reply, CommandError):
            code, remedy = classify(reply.desc)
            return StepOutcome(FAILED, detail=f"QEMU refused: {reply.desc}; {remedy}", code=code or NOT_HOTPLUGGABLE)
        if isinstance(reply, HotplugError):
            return StepOutcome(FAILED, detail=reply.msg, code=reply.code)
        return StepOutcome(FAILED, detail="QEMU accepted it, but the slot is empty again", code=INTERNAL)


def _unverified(reply: Any, lost: HotplugError) -> StepOutcome:
    """The outcome of a device_add if the slot could not be queried afterwards, because of ``lost``."""
    if isinstance(reply, CommandError):
        return StepOutcome(FAILED, detail=f"QEMU refused: {reply.desc}", code=NOT_HOTPLUGGABLE)
    if isinstance(reply, HotplugError):
        return StepOutcome(FAILED, took_effect=None, detail=f"it may be plugged or not: {lost.msg}", code=lost.code)
    return StepOutcome(
        DONE, took_effect=True, detail=f"QEMU accepted it, which could not be verified: {lost.msg}", code=lost.code
    )
