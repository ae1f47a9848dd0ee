# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The acknowledgements of plugs and unplugs by a guest, over QMP or libvirt."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import acpi
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.ejection import TICK_SECONDS, Ejection
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.error_texts import NOT_READY_REMEDY
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import PLUG_UNACKNOWLEDGED
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, PENDING, StepOutcome

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.ejection import Transport
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.ost_tracker import OstTracker
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity


class Handshake:
    """Plugs and unplugs of one guest, whose reports arrive at ``ost``.

    ``latches`` is whether QEMU keeps an unplug request until the guest handles it, so that it can be repeated.
    """

    def __init__(self, transport: Transport, ost: OstTracker) -> None:
        self._transport = transport
        self._ost = ost
        self._starts = False
        self._resets = 0
        self.latches = False

    def before_plug(self, starts: bool) -> None:
        """Record whether the guest still ``starts``: it then finds vCPUs that are plugged now in its tables."""
        self._starts = starts
        self._resets = self._ost.resets

    async def await_insertion(self, entities: Sequence[Entity], timeout: float) -> dict[int, StepOutcome]:
        """Wait until the guest has acknowledged each plugged entity; every acknowledgement renews ``timeout``."""
        answers: dict[int, StepOutcome] = {}
        waiting = {entity.index for entity in entities}
        deadline = time.monotonic() + timeout
        while True:
            latest = {index: self._ost.status(index) for index in waiting}
            outcomes = {index: _insertion(status) for index, status in latest.items() if status}
            found = {index: answer for index, answer in outcomes.items() if answer is not None}
            if found:
                answers.update(found)
                waiting.difference_update(found)
                deadline = time.monotonic() + timeout
            left = deadline - time.monotonic()
            if not waiting or left <= 0:
                break
            if not await self._ost.wait(min(TICK_SECONDS, left)):
                await self._catch_up(waiting)
        return {**answers, **dict.fromkeys(waiting, self._unacknowledged(timeout))}

    async def unplug(
        self, entity: Entity, timeout: float, at_work: bool = False, requested: bool = False
    ) -> StepOutcome:
        """Unplug ``entity`` within ``timeout``.

        ``at_work``: the guest carries out an earlier request; first wait for that. ``requested``: it may do so.
        """
        ejection = Ejection(self._transport, self._ost, entity, timeout, self.latches, at_work or requested)
        return await ejection.carry_out(at_work)

    async def settle(
        self, entities: Sequence[Entity], timeout: float, requested: Collection[int] = frozenset()
    ) -> None:
        """Wait until no unplug of ``entities`` is in progress any more, at most ``timeout``.

        The unplug of those ``requested`` is in progress as long as they are plugged.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            statuses = await self._transport.latest_statuses() or {}
            await self._transport.refresh()
            if not any(
                (entity.index in requested or statuses.get(entity.index) == acpi.OstStatus(acpi.EJECTING))
                and self._transport.is_plugged(entity)
                for entity in entities
            ):
                return
            await self._ost.wait(min(TICK_SECONDS, max(0.0, deadline - time.monotonic())))

    async def _catch_up(self, indices: Collection[int]) -> None:
        """Process acknowledgements without an event: the machine's latest status, and the boot of the guest."""
        statuses = await self._transport.latest_statuses()
        booted = self._boots and await self._has_booted(statuses)
        for index in indices:
            if statuses is not None and statuses.get(index) == acpi.OstStatus(acpi.INSERTED):
                self._ost.note(index, acpi.OstStatus(acpi.INSERTED))
            elif booted:
                self._ost.note(index, acpi.OstStatus(acpi.INSERTED, "found by the guest as it booted"))

    @property
    def _boots(self) -> bool:
        return self._starts or self._ost.resets != self._resets

    async def _has_booted(self, statuses: dict[int, acpi.OstStatus | None] | None) -> bool:
        """Whether a guest that was starting has booted, as far as QEMU shows it."""
        listens = await self._transport.is_listening()
        if listens is not None:
            return listens
        # A machine that keeps no status does not show it: the guest finds the vCPU when it boots.
        return statuses is None or bool(statuses)

    def _unacknowledged(self, timeout: float) -> StepOutcome:
        if self._boots:
            why = f"the guest cannot detect it yet: {NOT_READY_REMEDY}"
        else:
            why = (
                f"it is plugged, but the guest has not acknowledged it within {timeout:g} s: see the guest's kernel log"
            )
        return StepOutcome(PENDING, took_effect=True, detail=why, code=PLUG_UNACKNOWLEDGED)


def _insertion(status: acpi.OstStatus) -> StepOutcome | None:
    if status.kind == acpi.INSERTED:
        return StepOutcome(DONE, took_effect=True, detail=status.detail)
    if status.kind == acpi.NOT_INSERTED:
        return StepOutcome(
            FAILED,
            took_effect=True,
            detail=f"it is plugged, but the guest reported {status.detail}",
            code=PLUG_UNACKNOWLEDGED,
        )
    return None
