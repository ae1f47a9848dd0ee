# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unplug of one vCPU over libvirt: notes for later runs, and which of several runs at once reports the change.

Every run writes its note before its request, and sends the request only if the vCPU is still plugged after that. So the
notes that a run finds after the removal include those of all runs that may have caused it. The run whose note of the
completion comes first reports the change, and removes the notes of the others before its own: a run that no longer
finds its note was too late. A run that is killed leaves notes that keep no other run from reporting.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.notes import (
    COMPLETED,
    PREFIX,
    REQUESTED,
    Note,
    read_notes,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, PENDING, REFUSED, StepOutcome

if TYPE_CHECKING:
    import libvirt

    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection

_LIVE_XML = 0
_ELEMENT = 2
_AFFECT_LIVE = 1
_BY_ANOTHER = "another run had it unplugged at the same time"
_GONE_ALREADY = "it was unplugged already"


class UnplugRequest:
    """One run's unplug of the vCPU of ``note``; ``earlier`` are the notes on it before this run."""

    def __init__(self, connection: Connection, domain: libvirt.virDomain, note: Note, earlier: Iterable[Note]) -> None:
        self._connection = connection
        self._domain = domain
        self.note = note
        self._outdated = [found for found in earlier if found.kind == COMPLETED]
        self._is_noted = False
        self.is_sent = False

    async def announce(self) -> LibvirtCallError | None:
        """Write the note; return the error if libvirt does not accept it. Raises ``HotplugError``."""
        try:
            await write_note(self._connection, self._domain, self.note)
        except LibvirtCallError as error:
            return error
        self._is_noted = True
        return None

    async def confirm(self) -> LibvirtCallError | None:
        """Prepare to send the request, as the vCPU is still plugged; return the error if libvirt does not accept it.

        A note of a completion is of an earlier removal only if the vCPU is still plugged after this run's own note.
        """
        self.is_sent = True
        try:
            while self._outdated:
                await remove_note(self._connection, self._domain, self._outdated.pop())
        except LibvirtCallError as error:
            return error
        return None

    async def end(self, answer: StepOutcome) -> tuple[StepOutcome, list[Note]]:
        """Return the outcome for this run, and the notes to remove, in this order."""
        if not self._is_noted or answer.status == PENDING:
            # The guest may carry it out at any later time.
            return answer, []
        try:
            if answer.status == DONE and not self.is_sent:
                return answer._replace(took_effect=False, detail=_GONE_ALREADY), [self.note]
            if answer.status == DONE and answer.took_effect:
                return await self._completed(answer)
            # A run that still waits writes its note again when it repeats its request to a guest that has refused.
            refused = await self._read() if answer.status == REFUSED else []
        except (LibvirtCallError, HotplugError):
            # With the domain, its notes have ended too.
            return answer, []
        return answer, [*_of_others(refused, self.note), self.note]

    async def _completed(self, answer: StepOutcome) -> tuple[StepOutcome, list[Note]]:
        """Find out whether this run is the one that reports the change."""
        found = await self._read()
        own = [self.note]
        if self.note in found and _of_others(found, self.note):
            await write_note(self._connection, self._domain, self.note.completed)
            found = await self._read()
            own = [self.note, self.note.completed]
            is_first = _first_to_complete(found) == self.note.run
        else:
            is_first = self.note in found
        if is_first:
            return answer, [*_of_others(found, self.note), *own]
        return answer._replace(took_effect=False, detail=_BY_ANOTHER), own

    async def _read(self) -> list[Note]:
        xml = await self._connection.call(self._domain.XMLDesc, _LIVE_XML)
        return [note for note in read_notes(xml) if note.is_of_same_vcpu(self.note)]


def _of_others(found: Iterable[Note], own: Note) -> list[Note]:
    """The notes of other runs: first those without which a run knows that it was too late."""
    return sorted((note for note in found if note.run != own.run), key=lambda note: note.kind != REQUESTED)


def _first_to_complete(found: Iterable[Note]) -> str | None:
    """The first run that has found its request done; only runs whose requests are noted count."""
    noted = {note.run for note in found if note.kind == REQUESTED}
    return next((note.run for note in found if note.kind == COMPLETED and note.run in noted), None)


def requested_note(vcpu: int, domain: int, thread: int) -> Note:
    """Return the note of a new request."""
    return Note(REQUESTED, vcpu, domain, thread, uuid.uuid4().hex)


async def write_note(connection: Connection, domain: libvirt.virDomain, note: Note) -> None:
    """Write a note, behind the others; raises ``LibvirtCallError`` and ``HotplugError``."""
    await connection.call(domain.setMetadata, _ELEMENT, f"<{note.kind}/>", PREFIX, note.namespace, _AFFECT_LIVE)


async def remove_note(connection: Connection, domain: libvirt.virDomain, note: Note) -> None:
    """Remove a note, if it is there; raises ``LibvirtCallError`` and ``HotplugError``."""
    await connection.call(domain.setMetadata, _ELEMENT, None, None, note.namespace, _AFFECT_LIVE)
