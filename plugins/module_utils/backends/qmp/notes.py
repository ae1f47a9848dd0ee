# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes that a run leaves in QEMU for later runs: character devices without a backend, whose names are the notes.

QEMU's monitor shows neither whether an unplug request is still waiting nor whether an unplugged vCPU had run. A note
exists exactly as long as this information is valid: until QEMU ends, across resets of the guest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.monitor import Command

# The vCPU that was unplugged from this slot had never run.
NEVER_RAN = "never-ran"
# The unplug of this slot's vCPU was requested, and the guest may still carry it out.
UNPLUG = "unplug"

LIST: Command = ("query-chardev", {})

_LABEL = re.compile(r"kvm-hotplug\.([a-z-]{1,20})\.([0-9]{1,6})\.([0-9]{1,10})")


class Note(NamedTuple):
    """A note on a slot; ``thread`` is the host thread of its vCPU, 0 without one."""

    kind: str
    slot: int
    thread: int = 0

    @property
    def label(self) -> str:
        """The name of the character device."""
        return f"kvm-hotplug.{self.kind}.{self.slot}.{self.thread}"


def read_notes(reply: object) -> frozenset[Note]:
    """Return the notes in the reply to query-chardev."""
    found: set[Note] = set()
    for entry in reply if isinstance(reply, list) else []:
        label = entry.get("label") if isinstance(entry, dict) else None
        match = _LABEL.fullmatch(label) if isinstance(label, str) else None
        if match:
            found.add(Note(match.group(1), int(match.group(2)), int(match.group(3))))
    return frozenset(found)


def add(note: Note) -> Command:
    """The command that leaves a note; QEMU refuses it if the note exists already."""
    backend: dict[str, Any] = {"type": "null", "data": {}}
    return "chardev-add", {"id": note.label, "backend": backend}


def remove(note: Note) -> Command:
    """The command that removes a note; QEMU refuses it if there is none."""
    return "chardev-remove", {"id": note.label}
