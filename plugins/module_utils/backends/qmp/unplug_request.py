# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An unplug request, with a note in QEMU as long as the guest may carry it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp import notes
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, REFUSED, StepOutcome

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.monitor import Monitor


class UnplugRequest:
    """One vCPU's request; the note is shared with the requests of other runs for the same vCPU."""

    def __init__(self, monitor: Monitor, note: notes.Note, is_noted: bool) -> None:
        self._monitor = monitor
        self._note = note
        self._is_noted = is_noted

    async def send(self, path: str | None) -> CommandError | None:
        """Leave the note and send the request; return QEMU's refusal. Raises ``HotplugError`` (connection_lost)."""
        added, listed, reply = await self._monitor.execute_all(
            [notes.add(self._note), notes.LIST, ("device_del", {"id": path})]
        )
        if isinstance(reply, HotplugError):
            raise reply
        # Another run may have left it first.
        self._is_noted = self._note in notes.read_notes(listed)
        if not isinstance(reply, CommandError):
            return None
        if not isinstance(added, (CommandError, HotplugError)):
            await self._remove()
        return reply

    async def end(self, answer: StepOutcome) -> StepOutcome:
        """Remove the note unless the guest may still carry out the request.

        Of several runs that wait for one vCPU, the one that removes the note reports the change.
        """
        if not self._is_noted or answer.status not in (DONE, REFUSED):
            return answer
        is_first = await self._remove()
        if answer.status == DONE and answer.took_effect and not is_first:
            return answer._replace(took_effect=False, detail="another run had it unplugged at the same time")
        return answer

    async def _remove(self) -> bool:
        """Return whether it was this call that removed the note."""
        reply = (await self._monitor.execute_all([notes.remove(self._note)]))[0]
        self._is_noted = False
        return not isinstance(reply, CommandError)
