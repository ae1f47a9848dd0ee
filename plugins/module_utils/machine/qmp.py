# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine port over QMP, for a QEMU that nobody manages: a monitor socket is all it needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    GUEST_NOT_READY,
    INTERNAL,
    NOT_HOTPLUGGABLE,
    PLUG_UNACKNOWLEDGED,
    UNPLUG_PENDING,
    UNPLUG_REFUSED,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.machine import acpi
from ansible_collections.kvm.hotplug.plugins.module_utils.machine.arguments import alias_for
from ansible_collections.kvm.hotplug.plugins.module_utils.machine.monitor import Monitor, Refusal
from ansible_collections.kvm.hotplug.plugins.module_utils.machine.port import (
    DONE,
    FAILED,
    PENDING,
    REFUSED,
    Answer,
    MachineView,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.machine.qmp_view import QUESTIONS, QmpView
from ansible_collections.kvm.hotplug.plugins.module_utils.machine.refusals import NOT_READY_REMEDY, meaning
from ansible_collections.kvm.hotplug.plugins.module_utils.machine.slots import Slot, nonsense, read_slots
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity

# Events wake whoever waits; the tick is for a last word that got lost, and for guests that say nothing.
TICK_SECONDS = 0.5
# After a busy refusal the guest gets a growing pause before it is asked again.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 4.0


class QmpMachine:
    """The machine behind one QMP socket; ``timeout`` limits each of QEMU's own answers, in seconds."""

    def __init__(self, address: str, timeout: float) -> None:
        self._monitor = Monitor(address, timeout)
        self._news = acpi.GuestNews()
        self._replies: dict[str, Any] = {}
        self._slots: dict[int, Slot] = {}
        self._booting = False
        self._ejecting: frozenset[int] = frozenset()

    async def connect(self) -> None:
        """Raises ``HotplugError``: monitor_unreachable or monitor_busy."""
        await self._monitor.connect()
        self._monitor.on_event(self._news.hear)

    async def close(self) -> None:
        await self._monitor.close()

    async def observe(self) -> MachineView:
        answers = await self._monitor.execute_all(list(QUESTIONS.values()))
        for answer in answers:
            if isinstance(answer, HotplugError):
                raise answer
        self._replies = dict(zip(QUESTIONS, answers))
        view = QmpView(self._replies)
        self._know(view.slots)
        self._booting = not view.ready
        self._ejecting = view.ejecting
        return view.machine_view()

    def latest(self) -> MachineView:
        return QmpView(self._replies).machine_view()

    async def plug(self, entities: Sequence[Entity]) -> dict[int, Answer]:
        slots = [self._slots[entity.index] for entity in entities]
        taken = [slot.alias for slot in self._slots.values() if slot.alias is not None]
        for slot in slots:
            self._news.forget(slot.entity.index)
        adds = [("device_add", {"driver": slot.driver, "id": alias_for(slot, taken), **slot.props}) for slot in slots]
        # The verification goes out with the commands: QEMU answers in order, and a running guest makes each
        # further question wait.
        *replies, slots_reply, cpus_reply = await self._monitor.execute_all(
            [*adds, QUESTIONS["slots"], QUESTIONS["cpus"]]
        )
        for lost in (slots_reply, cpus_reply):
            if isinstance(lost, HotplugError):
                return {slot.entity.index: _unverified(reply, lost) for slot, reply in zip(slots, replies)}
        self._replies["cpus"] = cpus_reply
        self._see(slots_reply)
        return {slot.entity.index: self._plugged(slot, reply) for slot, reply in zip(slots, replies)}

    async def await_insertion(self, entities: Sequence[Entity], timeout: float) -> dict[int, Answer]:
        answers: dict[int, Answer] = {}
        waiting = {entity.index for entity in entities}
        deadline = time.monotonic() + timeout
        while True:
            heard = {index: _insertion(word) for index in waiting for word in [self._news.word(index)] if word}
            found = {index: answer for index, answer in heard.items() if answer is not None}
            if found:
                answers.update(found)
                waiting.difference_update(found)
                deadline = time.monotonic() + timeout
            left = deadline - time.monotonic()
            if not waiting or left <= 0:
                break
            if not await self._news.wait(min(TICK_SECONDS, left)):
                await self._catch_up(waiting)
        return {**answers, **dict.fromkeys(waiting, self._silent(timeout))}

    async def unplug(self, entity: Entity, timeout: float) -> Answer:
        deadline = time.monotonic() + timeout
        if entity.index in self._ejecting:
            # An earlier request is at work. A second one would be left over after it, and could hit a vCPU
            # plugged into the slot meanwhile; only a guest that has lost the first needs it.
            answer = await self._await_ejection(entity, time.monotonic() + timeout / 2)
            if answer.status == DONE:
                return answer
        pause = FIRST_PAUSE_SECONDS
        refusals = 0
        while True:
            asked = time.monotonic()
            answer = await self._request(entity, deadline) or await self._await_ejection(entity, deadline)
            word = self._news.word(entity.index)
            if answer.status != REFUSED or word is None or word.kind != acpi.BUSY:
                return answer
            refusals += 1
            # Asking again only makes sense when there is time for an answer as slow as the last.
            if time.monotonic() + pause + (time.monotonic() - asked) > deadline:
                times = f" {refusals} times" if refusals > 1 else ""
                return replace(answer, detail=f"the guest refused{times}: {word.detail}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def settle(self, entities: Sequence[Entity], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            words = await self._last_words()
            await self._look()
            if not any(
                words.get(entity.index) == acpi.Word(acpi.EJECTING) and self._is_plugged(entity) for entity in entities
            ):
                return
            await self._news.wait(min(TICK_SECONDS, max(0.0, deadline - time.monotonic())))

    async def _await_ejection(self, entity: Entity, deadline: float) -> Answer:
        """Return how a request ended: done, refused, or pending at the deadline."""
        started = time.monotonic()
        while True:
            await self._look()
            if not self._is_plugged(entity):
                return Answer(DONE, took_effect=True)
            word = self._news.word(entity.index)
            if word is not None and word.kind in (acpi.BUSY, acpi.REJECTED):
                return Answer(REFUSED, detail=f"the guest refused: {word.detail}", code=UNPLUG_REFUSED)
            left = deadline - time.monotonic()
            if left <= 0:
                return Answer(PENDING, detail=_still_waiting(word, time.monotonic() - started), code=UNPLUG_PENDING)
            await self._news.wait(min(TICK_SECONDS, left))

    async def _request(self, entity: Entity, deadline: float) -> Answer | None:
        """Have QEMU ask the guest; None when it did, else why there is nothing to wait for."""
        while True:
            slot = self._slots[entity.index]
            self._news.forget(entity.index)
            try:
                await self._monitor.execute("device_del", id=slot.qom_path)
                return None
            except Refusal as refusal:
                code, remedy = meaning(refusal.desc)
                if code == UNPLUG_PENDING:
                    return None
                await self._look()
                if not self._is_plugged(entity):
                    return Answer(DONE, detail="it was gone already")
                if code == GUEST_NOT_READY and time.monotonic() < deadline:
                    await self._news.wait(min(TICK_SECONDS, max(0.0, deadline - time.monotonic())))
                    continue
                if code == GUEST_NOT_READY:
                    return Answer(FAILED, detail=f"the guest cannot be asked yet: {NOT_READY_REMEDY}", code=code)
                return Answer(FAILED, detail=f"QEMU refused: {refusal.desc}; {remedy}", code=code or INTERNAL)

    async def _catch_up(self, indices: Collection[int]) -> None:
        """Learn from the last words QEMU keeps what no event told, of a guest that booted meanwhile above all."""
        words = await self._last_words()
        for index in indices:
            if words.get(index) == acpi.Word(acpi.INSERTED):
                self._news.note(index, acpi.Word(acpi.INSERTED))
            elif self._booting and index in words:
                # ACPI came up after the plug: the guest has found the vCPU in its tables, not by an event.
                self._news.note(index, acpi.Word(acpi.INSERTED, "found by the guest as it booted"))

    async def _look(self) -> None:
        """See which slots are taken now: the truth that all waiting is about."""
        try:
            self._see(await self._monitor.execute("query-hotpluggable-cpus"))
        except Refusal as refusal:
            raise nonsense("query-hotpluggable-cpus", refusal.desc) from refusal

    async def _last_words(self) -> dict[int, acpi.Word | None]:
        try:
            return acpi.read_ospm_status(await self._monitor.execute("query-acpi-ospm-status"))
        except Refusal:
            # Then the events have to do.
            return {}

    def _see(self, slots_reply: Any) -> None:
        slots = read_slots(slots_reply)
        if [slot.entity for slot in slots] != [slot.entity for slot in self._slots.values()]:
            raise nonsense("query-hotpluggable-cpus", slots_reply)
        self._know(slots)
        self._replies["slots"] = slots_reply

    def _know(self, slots: Sequence[Slot]) -> None:
        self._slots = {slot.entity.index: slot for slot in slots}
        named: dict[str, int] = {}
        for slot in slots:
            for name in (slot.qom_path, slot.alias):
                if name is not None:
                    named[name] = slot.entity.index
        self._news.expect(frozenset(self._slots), named)

    def _is_plugged(self, entity: Entity) -> bool:
        return self._slots[entity.index].qom_path is not None

    def _plugged(self, slot: Slot, reply: Any) -> Answer:
        """What became of a device_add, by the slot's state after it."""
        if self._is_plugged(slot.entity):
            if isinstance(reply, Refusal):
                return Answer(DONE, detail="it was plugged already")
            return Answer(DONE, took_effect=True)
        if isinstance(reply, Refusal):
            code, remedy = meaning(reply.desc)
            return Answer(FAILED, detail=f"QEMU refused: {reply.desc}; {remedy}", code=code or NOT_HOTPLUGGABLE)
        if isinstance(reply, HotplugError):
            return Answer(FAILED, detail=reply.msg, code=reply.code)
        return Answer(FAILED, detail="QEMU took it, but the slot is empty again", code=INTERNAL)

    def _silent(self, timeout: float) -> Answer:
        if self._booting:
            why = f"the guest cannot see it yet: {NOT_READY_REMEDY}"
        else:
            why = (
                f"it is plugged, but the guest has not acknowledged it within {timeout:g} s: see the guest's kernel log"
            )
        return Answer(PENDING, took_effect=True, detail=why, code=PLUG_UNACKNOWLEDGED)


def _unverified(reply: Any, lost: HotplugError) -> Answer:
    """What became of a device_add when the slot could not be looked at afterwards, because of ``lost``."""
    if isinstance(reply, Refusal):
        return Answer(FAILED, detail=f"QEMU refused: {reply.desc}", code=NOT_HOTPLUGGABLE)
    if isinstance(reply, HotplugError):
        return Answer(FAILED, took_effect=None, detail=f"it may be plugged or not: {lost.msg}", code=lost.code)
    return Answer(
        DONE, took_effect=True, detail=f"QEMU took it, which could not be verified: {lost.msg}", code=lost.code
    )


def _insertion(word: acpi.Word) -> Answer | None:
    if word.kind == acpi.INSERTED:
        return Answer(DONE, took_effect=True, detail=word.detail)
    if word.kind == acpi.NOT_INSERTED:
        return Answer(
            FAILED,
            took_effect=True,
            detail=f"it is plugged, but the guest reported {word.detail}: see the guest's kernel log",
            code=PLUG_UNACKNOWLEDGED,
        )
    return None


def _still_waiting(word: acpi.Word | None, seconds: float) -> str:
    said = "is still working on it" if word is not None and word.kind == acpi.EJECTING else "has said nothing"
    return (
        f"the guest {said} after {seconds:.0f} s; the request stays with it: "
        "run the task again, which finds it done or asks once more"
    )
