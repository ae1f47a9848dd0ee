# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One unplug: the request to the guest, what becomes of it, and when the guest has to be asked again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import acpi
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.error_texts import NOT_READY_REMEDY
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    GUEST_NOT_READY,
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

# Events wake whoever waits; the tick is for a last status that got lost, and for guests that report nothing.
TICK_SECONDS = 0.5
# After a busy refusal the guest gets a growing pause before it is asked again.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 4.0
# A Linux that still boots fails for want of the CPU's device, which it is about to find; other failures stay.
FAILING_SECONDS = 10.0
# The longest that a listening guest was seen to take for its first report was 8 seconds.
SILENT_SECONDS = 10.0

_GONE_ALREADY = "it was gone already"


class Transport(Protocol):
    """What carries requests to the guest, and shows what is plugged. Raises ``HotplugError``."""

    async def look(self) -> None:
        """See what is plugged now: the truth that all waiting is about."""

    def is_plugged(self, entity: Entity) -> bool:
        """Tell whether ``entity`` was plugged when last looked."""

    async def is_listening(self) -> bool | None:
        """Tell whether the guest handles hotplug events now; None where that is unknown."""

    async def ask_to_eject(self, entity: Entity, deadline: float) -> Answer | None:
        """Have the guest asked for ``entity``; None when it was, else why there is nothing to wait for.

        A guest that cannot be asked yet is an answer of guest_not_ready.
        """

    async def last_words(self) -> dict[int, acpi.OstStatus | None] | None:
        """Return the last status of each slot that the machine keeps; None where it keeps none, or cannot be asked."""


class Ejection:
    """The unplug of one entity, within ``timeout``.

    ``latches``: QEMU keeps a request until the guest takes it, and a guest that has not can be asked again. Without it,
    a guest that does not reply is never asked twice. ``requested``: an earlier request may still be carried out.
    """

    def __init__(
        self,
        transport: Transport,
        ost: acpi.OstTracker,
        entity: Entity,
        timeout: float,
        latches: bool,
        requested: bool,
    ) -> None:
        self._transport = transport
        self._ost = ost
        self._entity = entity
        self._timeout = timeout
        self._latches = latches
        self._deadline = time.monotonic() + timeout
        self._is_requested = requested
        self._resets = ost.resets
        self._listens: bool | None = True
        self._patience = SILENT_SECONDS

    async def carry_out(self, at_work: bool) -> Answer:
        """Have the guest eject; it is asked again when it was busy, was reset, or may not have noticed.

        It is asked again for some seconds also where it failed and does not say why. ``at_work``: the guest carries out
        an earlier request, which is waited for first.
        """
        if at_work:
            # A second request would be left over after the first, and could hit a vCPU plugged into the slot
            # meanwhile; only a guest that has lost the first needs it.
            answer = await self._outcome(time.monotonic() + self._timeout / 2)
            if answer is not None and answer.status == DONE:
                return answer
        pause = FIRST_PAUSE_SECONDS
        refusals = 0
        began = time.monotonic()
        while True:
            asked = time.monotonic()
            answer = await self._ask() or await self._outcome(self._deadline)
            if answer is None:
                continue
            word = self._ost.word(self._entity.index)
            if answer.status != REFUSED or word is None or word.kind == acpi.REJECTED:
                return answer
            refusals += 1
            now = time.monotonic()
            # Asking again only makes sense when there is time for an answer as slow as the last.
            late = now + pause + (now - asked) > self._deadline
            # Over libvirt each request takes some seconds, whenever the guest answers.
            if late or (word.kind == acpi.FAILED and now + pause > began + FAILING_SECONDS):
                times = f" {refusals} times" if refusals > 1 else ""
                return answer._replace(detail=f"the guest refused{times}: {word.detail}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _ask(self) -> Answer | None:
        """Send the request once the guest listens; return an answer where that came to nothing."""
        index = self._entity.index
        while True:
            self._ost.forget(index)
            # Before the guest is looked at, so that no reset between the look and the request gets lost.
            self._resets = self._ost.resets
            self._listens = await self._transport.is_listening()
            answer: Answer | None = Answer(FAILED, code=GUEST_NOT_READY)
            if self._listens is not False:
                answer = await self._transport.ask_to_eject(self._entity, self._deadline)
            if answer is None:
                self._is_requested = True
                return None
            await self._transport.look()
            if not self._transport.is_plugged(self._entity):
                return Answer(DONE, took_effect=True) if self._is_requested else Answer(DONE, detail=_GONE_ALREADY)
            if answer.code != GUEST_NOT_READY:
                return answer
            left = self._deadline - time.monotonic()
            if left <= 0:
                return self._not_ready(answer)
            await self._ost.wait(min(TICK_SECONDS, left))

    def _not_ready(self, answer: Answer) -> Answer:
        if self._is_requested:
            return _pending(
                f"the guest was asked before, and is not ready to be asked again within {self._timeout:g} s"
            )
        return Answer(FAILED, detail=f"the guest cannot be asked yet: {NOT_READY_REMEDY}", code=answer.code)

    async def _outcome(self, deadline: float) -> Answer | None:
        """Return how a request ended: done, refused, or pending at the deadline; None where it has to be repeated."""
        started = time.monotonic()
        while True:
            await self._transport.look()
            if not self._transport.is_plugged(self._entity):
                return Answer(DONE, took_effect=True)
            word = self._ost.word(self._entity.index)
            if word is not None and word.kind in (acpi.BUSY, acpi.FAILED, acpi.REJECTED):
                return Answer(REFUSED, detail=f"the guest refused: {word.detail}", code=UNPLUG_REFUSED)
            left = deadline - time.monotonic()
            if left <= 0:
                return _pending(_still_waiting(word, time.monotonic() - started))
            if self._latches and self._is_lost(word, started):
                return None
            await self._ost.wait(min(TICK_SECONDS, left))

    def _is_lost(self, word: acpi.OstStatus | None, started: float) -> bool:
        """Whether the guest does not know of the request any more, or may never have noticed it."""
        if self._ost.resets != self._resets:
            return True
        if self._listens is None and word is None and time.monotonic() > started + self._patience:
            self._patience *= 2
            return True
        return False


def _pending(why: str) -> Answer:
    return Answer(
        PENDING,
        detail=(
            f"{why}; the request stays with QEMU, and the guest may carry it out at any later time: "
            "run the task again, which finds it done or asks once more"
        ),
        code=UNPLUG_PENDING,
    )


def _still_waiting(word: acpi.OstStatus | None, seconds: float) -> str:
    what = "still works on it" if word is not None and word.kind == acpi.EJECTING else "has reported nothing"
    return f"the guest {what} after {seconds:.0f} s"
