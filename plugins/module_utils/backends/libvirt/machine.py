# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine port over libvirt, for changing a guest: its API plugs and unplugs, QEMU's own events acknowledge."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_state import machine_view
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import (
    LibvirtCallError,
    classify,
    classify_failed_placement,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.machine_reader import LibvirtMachineReader
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.unplug_request import (
    UnplugRequest,
    remove_note,
    requested_note,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import acpi
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.ejection import TICK_SECONDS
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.handshake import Handshake
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.ost_tracker import OstTracker
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.readiness import is_listening
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    GUEST_NOT_RUNNING,
    INTERNAL,
    NOT_HOTPLUGGABLE,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, MachineView, StepOutcome

if TYPE_CHECKING:
    import libvirt

    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_reader import DomainReader
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.events import EventRouter
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.notes import Note
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity

_AFFECT_LIVE = 1
_ASYNC_UNPLUG = 4
# How long libvirt may take to note what QEMU has reported to it; under KVM it was seen to lag by a moment.
RECORD_SECONDS = 2.0
RECORD_TICK_SECONDS = 0.1
# From libvirt 12.4 on, an unplug need not wait for the guest.
_ASYNC_SINCE = 12_004_000


class LibvirtMachine(LibvirtMachineReader):
    """A domain that runs, for changing it too; ``router`` receives the events of its connection."""

    def __init__(
        self, connection: Connection, router: EventRouter, domain: libvirt.virDomain, reader: DomainReader
    ) -> None:
        super().__init__(reader)
        self._connection = connection
        self._router = router
        self._domain = domain
        self._ost = OstTracker()
        self._handshake = Handshake(self, self._ost)
        self._request: UnplugRequest | None = None
        self._unplugging: asyncio.Task[LibvirtCallError | None] | None = None
        self._unplug_flags: int | None = None

    async def observe(self) -> MachineView:
        view = await super().observe()
        aliases = {f"vcpu{entity.vcpus[0]}": entity.index for entity in view.layout.entities}
        self._ost.expect(frozenset(entity.index for entity in view.layout.entities), aliases)
        self._handshake.latches = self._observed.domain.arch in acpi.ARCHITECTURES
        return view

    def latest(self) -> MachineView:
        return machine_view(self._observed)

    async def plug(self, entities: Sequence[Entity]) -> dict[int, StepOutcome]:
        await self._router.listen(self._domain, self._ost)
        self._handshake.before_plug(starts=await self.is_listening() is False)
        errors: dict[int, LibvirtCallError | None] = {}
        # Before the plug, because they are on vCPUs that were in these slots.
        self._remove([note for note in self._observed.notes if any(note.vcpu in entity.vcpus for entity in entities)])
        for entity in entities:
            self._ost.clear(entity.index)
            await self._join()
            errors[entity.index] = await self._set(entity, 1, _AFFECT_LIVE)
        # A query of the slots is not sufficient: the order and the pins of vCPUs have changed.
        await self.observe()
        return {entity.index: self._plugged(entity, errors[entity.index]) for entity in entities}

    async def await_insertion(self, entities: Sequence[Entity], timeout: float) -> dict[int, StepOutcome]:
        if self._router.refused is None:
            return await self._handshake.await_insertion(entities, timeout)
        deaf = StepOutcome(DONE, took_effect=True, detail=f"guest events are unavailable: {self._router.refused}")
        return {entity.index: deaf for entity in entities}

    async def unplug(self, entity: Entity, timeout: float) -> StepOutcome:
        await self._router.listen(self._domain, self._ost)
        thread = self._observed.threads.ids.get(entity.vcpus[0], 0)
        note = requested_note(entity.vcpus[0], self._domain.ID(), thread)
        earlier = [found for found in self._observed.notes if found.is_of_same_vcpu(note)]
        self._request = UnplugRequest(self._connection, self._domain, note, earlier)
        requested = entity.index in self._observed.requested
        answer = await self._handshake.unplug(entity, timeout, requested=requested)
        if answer.status == DONE:
            # A guest that stops now has ejected the vCPU all the same.
            with contextlib.suppress(HotplugError):
                await self._await_record(entity)
        answer, outdated = await self._request.end(answer)
        self._remove(outdated)
        return answer

    async def settle(self, entities: Sequence[Entity], timeout: float) -> None:
        await self._handshake.settle(entities, timeout, self._observed.requested)

    async def close(self) -> None:
        # The outcome of the call is known by then, or stays unknown.
        with contextlib.suppress(HotplugError):
            await self._join()
        self._router.leave(self._domain)

    async def refresh(self) -> None:
        """Query which vCPUs libvirt's record has now, and which of them QEMU has."""
        try:
            self._record = await self._reader.again(self._observed)
        except LibvirtCallError as error:
            raise error.error("cannot observe the guest") from None

    def is_plugged(self, entity: Entity) -> bool:
        """Return whether QEMU had ``entity`` at the last query."""
        if self._observed.in_qemu is None and self._ost.status(entity.index) == acpi.OstStatus(acpi.EJECTED):
            # There is no other source; QEMU ejects before the guest can report it.
            return False
        return not self._observed.enabled.isdisjoint(entity.vcpus)

    async def is_listening(self) -> bool | None:
        """Return whether the guest handles hotplug events now, None if QEMU itself must not be queried."""
        if not self._reader.asks_qemu:
            return None
        try:
            return await is_listening(self._reader.execute)
        except LibvirtCallError:
            # Another call holds the domain, such as an unplug that was not waited for.
            return None

    async def request_eject(self, entity: Entity, deadline: float) -> StepOutcome | None:
        """Request the unplug through libvirt.

        libvirt waits for some seconds, and holds the domain during that time; the guest's report arrives earlier.
        """
        if self._request is None:
            raise RuntimeError("an unplug was sent without a request")
        await self._join()
        flags = await self._flags_to_unplug()
        refusal = await self._request.announce()
        if refusal is not None:
            return _refused(refusal)
        known = self._observed
        self._record = known._replace(notes=(*known.notes, self._request.note))
        await self.refresh()
        if not self.is_plugged(entity):
            return StepOutcome(FAILED)
        refusal = await self._request.confirm()
        if refusal is not None:
            return _refused(refusal)
        self._unplugging = asyncio.ensure_future(self._set(entity, 0, flags))
        while not self._unplugging.done():
            status = self._ost.status(entity.index)
            if status is not None and status.kind != acpi.EJECTING:
                return None
            report = asyncio.ensure_future(self._ost.wait(TICK_SECONDS))
            await asyncio.wait([self._unplugging, report], return_when=asyncio.FIRST_COMPLETED)
            report.cancel()
            await asyncio.gather(report, return_exceptions=True)
        error = await self._join()
        if error is None or error.timed_out:
            return None
        return _refused(error)

    async def latest_statuses(self) -> dict[int, acpi.OstStatus | None] | None:
        """Return none, because libvirt keeps none; raises ``HotplugError`` if the guest has stopped meanwhile."""
        await self.refresh()
        return None

    def _remove(self, outdated: Sequence[Note]) -> None:
        """Have notes removed as soon as the unplug's call, which holds the domain, has ended."""
        if not outdated:
            return
        known = self._observed
        self._record = known._replace(notes=tuple(note for note in known.notes if note not in outdated))
        self._unplugging = asyncio.ensure_future(self._remove_after(self._unplugging, outdated))

    async def _remove_after(
        self, call: asyncio.Task[LibvirtCallError | None] | None, outdated: Sequence[Note]
    ) -> LibvirtCallError | None:
        result = await call if call is not None else None
        # With the domain, its notes have ended too.
        with contextlib.suppress(LibvirtCallError, HotplugError):
            for note in outdated:
                await remove_note(self._connection, self._domain, note)
        return result

    async def _await_record(self, entity: Entity) -> None:
        """Wait until libvirt's record no longer has what QEMU has removed, as long as libvirt can learn of it.

        QEMU reports the removal before the guest's end of the ejection, except under TCG, where it reports none.
        """
        deadline = time.monotonic() + RECORD_SECONDS
        while not self._observed.removed.isdisjoint(entity.vcpus) and time.monotonic() < deadline:
            has_ended = self._ost.status(entity.index) == acpi.OstStatus(acpi.EJECTED)
            if has_ended and entity.index not in self._ost.deleted:
                return
            await self._ost.wait(RECORD_TICK_SECONDS)
            await self.refresh()

    async def _flags_to_unplug(self) -> int:
        if self._unplug_flags is None:
            try:
                version = await self._connection.call(self._connection.handle.getLibVersion)
            except LibvirtCallError:
                version = 0
            self._unplug_flags = _AFFECT_LIVE | (_ASYNC_UNPLUG if version >= _ASYNC_SINCE else 0)
        return self._unplug_flags

    async def _set(self, entity: Entity, state: int, flags: int) -> LibvirtCallError | None:
        try:
            await self._connection.call(self._domain.setVcpu, format_cpulist(entity.vcpus), state, flags)
            return None
        except LibvirtCallError as error:
            return error

    async def _join(self) -> LibvirtCallError | None:
        """Wait for the end of the unplug's call: libvirt accepts no other before."""
        call, self._unplugging = self._unplugging, None
        return await call if call is not None else None

    def _plugged(self, entity: Entity, error: LibvirtCallError | None) -> StepOutcome:
        """Return the outcome of a plug by the vCPUs after it, and only then by libvirt's reply."""
        if error is not None and (not self.is_plugged(entity) or classify(error)[0] == GUEST_NOT_RUNNING):
            return _refused(error)
        if not self.is_plugged(entity):
            return StepOutcome(FAILED, detail="libvirt reported success, but QEMU does not have it", code=INTERNAL)
        if error is None:
            return StepOutcome(DONE, took_effect=True)
        code, remedy = classify_failed_placement(error)
        if code is None:
            return StepOutcome(DONE, detail="it was plugged already")
        detail = f"it is plugged, but libvirt failed after that: {error.desc}; {remedy}"
        return StepOutcome(FAILED, took_effect=True, detail=detail, code=code)


def _refused(error: LibvirtCallError) -> StepOutcome:
    code, remedy = classify(error)
    return StepOutcome(FAILED, detail=f"libvirt refused: {error.desc}; {remedy}", code=code or NOT_HOTPLUGGABLE)
