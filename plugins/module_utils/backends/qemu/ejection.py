# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One unplug: the request to the guest, its outcome, and the repetition of the request."""

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
    StepOutcome,
)

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.ost_tracker import OstTracker
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity

# Events end a wait; the tick is for a status that was lost, and for guests that report nothing.
TICK_SECONDS = 0.5
# The pause before a request to a busy guest is repeated; it grows.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 4.0
# A booting Linux fails as long as it has not found the CPU's device; other failures persist.
FAILING_SECONDS = 10.0
# A guest that handles events was measured to take at most 8 seconds for its first report.
SILENT_SECONDS = 10.0

_GONE_ALREADY = "it was unplugged already"


class Transport(Protocol):
    """Sends requests to the guest, and shows which entities are plugged. Raises ``HotplugError``."""

    async def refresh(self) -> None:
        """Query which entities are plugged now; this alone is authoritative."""

    def is_plugged(self, entity: Entity) -> bool:
        """Return whether ``entity`` was plugged at the last query."""

    async def is_listening(self) -> bool | None:
        """Return whether the guest handles hotplug events now; None if unknown."""

    async def request_eject(self, entity: Entity, deadline: float) -> StepOutcome | None:
        """Request the unplug of ``entity``; return None if the request was sent, else the reason.

        A guest that does not handle events yet is guest_not_ready.
        """

    async def latest_statuses(self) -> dict[int, acpi.OstStatus | None] | None:
        """Return the latest status of each slot that the machine keeps; None if it keeps none, or cannot be queried."""


class Ejection:
    """The unplug of one entity, within ``timeout``.

    ``latches``: QEMU keeps a request until the guest handles it, so it can be repeated if the guest has not. Otherwise
    a request without a report is never repeated. ``requested``: an earlier request may still be carried out.
    """

    def __init__(
        self,
        transport: Transport,
        ost: OstTracker,
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

    async def carry_out(self, at_work: bool) -> StepOutcome:
        """Unplug; repeat the request if the guest was busy, was reset, or may have missed it.

        After an unspecific failure it is repeated for some seconds. ``at_work``: the guest carries out an earlier
        request; first wait for that.
        """
        if at_work:
            # A second request would remain after the first, and could unplug a vCPU that is plugged into the slot
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
            status = self._ost.status(self._entity.index)
            if answer.status != REFUSED or status is None or status.kind == acpi.REJECTED:
                return answer
            refusals += 1
            now = time.monotonic()
            # A repetition only makes sense if there is time for a report as slow as the last one.
            late = now + pause + (now - asked) > self._deadline
            # Over libvirt each request takes some seconds, even if the guest reports immediately.
            if late or (status.kind == acpi.FAILED and now + pause > began + FAILING_SECONDS):
                times = f" {refusals} times" if refusals > 1 else ""
                return answer._replace(detail=f"the guest refused{times}: {status.detail}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _ask(self) -> StepOutcome | None:
        """Send the request as soon as the guest handles events; return an answer if that fails."""
        index = self._entity.index
        while True:
            self._ost.clear(index)
            # Before the query, so that a reset between the query and the request is not missed.
            self._resets = self._ost.resets
            self._listens = await self._transport.is_listening()
            answer: StepOutcome | None = StepOutcome(FAILED, code=GUEST_NOT_READY)
            if self._listens is not False:
                answer = await self._transport.request_eject(self._entity, self._deadline)
            if answer is None:
                self._is_requested = True
                return None
            await self._transport.refresh()
            if not self._transport.is_plugged(self._entity):
                return (
                    StepOutcome(DONE, took_effect=True)
                    if self._is_requested
                    else StepOutcome(DONE, detail=_GONE_ALREADY)
                )
            if answer.code != GUEST_NOT_READY:
                return answer
            left = self._deadline - time.monotonic()
            if left <= 0:
                return self._not_ready(answer)
            await self._ost.wait(min(TICK_SECONDS, left))

    def _not_ready(self, answer: StepOutcome) -> StepOutcome:
        if self._is_requested:
            return _pending(
                f"an unplug was requested before, and the guest was not ready for another within {self._timeout:g} s"
            )
        return StepOutcome(
            FAILED, detail=f"the guest does not handle hotplug events yet: {NOT_READY_REMEDY}", code=answer.code
        )

    async def _outcome(self, deadline: float) -> StepOutcome | None:
        """Return the outcome of a request: done, refused, or pending at the deadline; None if it has to be repeated."""
        started = time.monotonic()
        while True:
            await self._transport.refresh()
            if not self._transport.is_plugged(self._entity):
                return StepOutcome(DONE, took_effect=True)
            status = self._ost.status(self._entity.index)
            if status is not None and status.kind in (acpi.BUSY, acpi.FAILED, acpi.REJECTED):
                return StepOutcome(REFUSED, detail=f"the guest refused: {status.detail}", code=UNPLUG_REFUSED)
            left = deadline - time.monotonic()
            if left <= 0:
                return _pending(_still_waiting(status, time.monotonic() - started))
            if self._latches and self._is_lost(status, started):
                return None
            await self._ost.wait(min(TICK_SECONDS, left))

    def _is_lost(self, status: acpi.OstStatus | None, started: float) -> bool:
        """Whether the guest has lost the request, or may have missed it."""
        if self._ost.resets != self._resets:
            return True
        if self._listens is None and status is None and time.monotonic() > started + self._patience:
            self._patience *= 2
            return True
        return False


def _pending(why: str) -> StepOutcome:
    return StepOutcome(
        PENDING,
        detail=(
            f"{why}; the request stays with QEMU, and the guest may carry it out at any later time: "
            "run the task again, which finds it done or repeats the request"
        ),
        code=UNPLUG_PENDING,
    )


def _still_waiting(status: acpi.OstStatus | None, seconds: float) -> str:
    what = "is still processing it" if status is not None and status.kind == acpi.EJECTING else "has reported nothing"
    return f"the guest {what} after {seconds:.0f} s"
