# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to ask a guest to take a vCPU in or give it up, and how to wait for its word, whoever carries the question."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import acpi
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.error_texts import NOT_READY_REMEDY
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    GUEST_NOT_READY,
    PLUG_UNACKNOWLEDGED,
    UNPLUG_PENDING,
    UNPLUG_REFUSED,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import (
    DONE,
    FAILED,
    PENDING,
    REFUSED,
    Answer,
)

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity

# Events wake whoever waits; the tick is for a last word that got lost, and for guests that say nothing.
TICK_SECONDS = 0.5
# After a busy refusal the guest gets a growing pause before it is asked again.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 4.0
# A Linux that still boots fails for want of the CPU's device, which it is about to find; other failures stay.
FAILING_SECONDS = 10.0


class Transport(Protocol):
    """What carries questions to the guest's firmware, and shows what is plugged. Raises ``HotplugError``."""

    async def look(self) -> None:
        """See what is plugged now: the truth that all waiting is about."""

    def is_plugged(self, entity: Entity) -> bool:
        """Tell whether ``entity`` was plugged when last looked."""

    async def ask_to_eject(self, entity: Entity, deadline: float) -> Answer | None:
        """Have the guest asked for ``entity``; None when it was, else why there is nothing to wait for.

        A guest that cannot be asked yet is an answer of guest_not_ready.
        """

    async def last_words(self) -> dict[int, acpi.OstStatus | None] | None:
        """Return the last word on each slot that the machine keeps; None where it keeps none, or cannot be asked."""


class Handshake:
    """A conversation with the guest about its slots; its words arrive at ``news``."""

    def __init__(self, transport: Transport, news: acpi.OstTracker) -> None:
        self._transport = transport
        self._ost = news
        self.booting = False

    async def await_insertion(self, entities: Sequence[Entity], timeout: float) -> dict[int, Answer]:
        """Wait until the guest has acknowledged each plugged entity; every acknowledgement renews ``timeout``."""
        answers: dict[int, Answer] = {}
        waiting = {entity.index for entity in entities}
        deadline = time.monotonic() + timeout
        while True:
            heard = {index: _insertion(word) for index in waiting for word in [self._ost.word(index)] if word}
            found = {index: answer for index, answer in heard.items() if answer is not None}
            if found:
                answers.update(found)
                waiting.difference_update(found)
                deadline = time.monotonic() + timeout
            left = deadline - time.monotonic()
            if not waiting or left <= 0:
                break
            if not await self._ost.wait(min(TICK_SECONDS, left)):
                await self._catch_up(waiting)
        return {**answers, **dict.fromkeys(waiting, self._silent(timeout))}

    async def unplug(self, entity: Entity, timeout: float, asked_before: bool) -> Answer:
        """Have the guest give up ``entity``; asks again when the guest was busy, while ``timeout`` lasts.

        It is asked again for some seconds also where it failed and does not say why. With ``asked_before``, an earlier
        request is at work and is waited for first.
        """
        deadline = time.monotonic() + timeout
        if asked_before:
            # A second request would be left over after the first, and could hit a vCPU plugged into the slot
            # meanwhile; only a guest that has lost the first needs it.
            answer = await self._await_ejection(entity, time.monotonic() + timeout / 2)
            if answer.status == DONE:
                return answer
        pause = FIRST_PAUSE_SECONDS
        refusals = 0
        began = time.monotonic()
        while True:
            asked = time.monotonic()
            answer = await self._ask(entity, deadline) or await self._await_ejection(entity, deadline)
            word = self._ost.word(entity.index)
            if answer.status != REFUSED or word is None or word.kind == acpi.REJECTED:
                return answer
            refusals += 1
            now = time.monotonic()
            # Asking again only makes sense when there is time for an answer as slow as the last.
            late = now + pause + (now - asked) > deadline
            # Over libvirt each request takes some seconds, whenever the guest answers.
            if late or (word.kind == acpi.FAILED and now + pause > began + FAILING_SECONDS):
                times = f" {refusals} times" if refusals > 1 else ""
                return answer._replace(detail=f"the guest refused{times}: {word.detail}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def settle(self, entities: Sequence[Entity], timeout: float) -> None:
        """Wait until no unplug of ``entities`` is under way any more, at most ``timeout``."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            words = await self._transport.last_words() or {}
            await self._transport.look()
            if not any(
                words.get(entity.index) == acpi.OstStatus(acpi.EJECTING) and self._transport.is_plugged(entity)
                for entity in entities
            ):
                return
            await self._ost.wait(min(TICK_SECONDS, max(0.0, deadline - time.monotonic())))

    async def _ask(self, entity: Entity, deadline: float) -> Answer | None:
        while True:
            self._ost.forget(entity.index)
            answer = await self._transport.ask_to_eject(entity, deadline)
            if answer is None:
                return None
            await self._transport.look()
            if not self._transport.is_plugged(entity):
                return Answer(DONE, detail="it was gone already")
            if answer.code != GUEST_NOT_READY:
                return answer
            left = deadline - time.monotonic()
            if left <= 0:
                return Answer(FAILED, detail=f"the guest cannot be asked yet: {NOT_READY_REMEDY}", code=answer.code)
            await self._ost.wait(min(TICK_SECONDS, left))

    async def _await_ejection(self, entity: Entity, deadline: float) -> Answer:
        """Return how a request ended: done, refused, or pending at the deadline."""
        started = time.monotonic()
        while True:
            await self._transport.look()
            if not self._transport.is_plugged(entity):
                return Answer(DONE, took_effect=True)
            word = self._ost.word(entity.index)
            if word is not None and word.kind in (acpi.BUSY, acpi.FAILED, acpi.REJECTED):
                return Answer(REFUSED, detail=f"the guest refused: {word.detail}", code=UNPLUG_REFUSED)
            left = deadline - time.monotonic()
            if left <= 0:
                return Answer(PENDING, detail=_still_waiting(word, time.monotonic() - started), code=UNPLUG_PENDING)
            await self._ost.wait(min(TICK_SECONDS, left))

    async def _catch_up(self, indices: Collection[int]) -> None:
        """Learn from the last words the machine keeps what no event told, of a guest that booted meanwhile for one."""
        words = await self._transport.last_words() or {}
        for index in indices:
            if words.get(index) == acpi.OstStatus(acpi.INSERTED):
                self._ost.note(index, acpi.OstStatus(acpi.INSERTED))
            elif self.booting and index in words:
                # ACPI came up after the plug: the guest has found the vCPU in its tables, not by an event.
                self._ost.note(index, acpi.OstStatus(acpi.INSERTED, "found by the guest as it booted"))

    def _silent(self, timeout: float) -> Answer:
        if self.booting:
            why = f"the guest cannot see it yet: {NOT_READY_REMEDY}"
        else:
            why = (
                f"it is plugged, but the guest has not acknowledged it within {timeout:g} s: see the guest's kernel log"
            )
        return Answer(PENDING, took_effect=True, detail=why, code=PLUG_UNACKNOWLEDGED)


def _insertion(word: acpi.OstStatus) -> Answer | None:
    if word.kind == acpi.INSERTED:
        return Answer(DONE, took_effect=True, detail=word.detail)
    if word.kind == acpi.NOT_INSERTED:
        return Answer(
            FAILED,
            took_effect=True,
            detail=f"it is plugged, but the guest reported {word.detail}",
            code=PLUG_UNACKNOWLEDGED,
        )
    return None


def _still_waiting(word: acpi.OstStatus | None, seconds: float) -> str:
    said = "is still working on it" if word is not None and word.kind == acpi.EJECTING else "has said nothing"
    return (
        f"the guest {said} after {seconds:.0f} s; the request stays with it: "
        "run the task again, which finds it done or asks once more"
    )
