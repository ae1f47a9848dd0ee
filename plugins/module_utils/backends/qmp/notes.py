# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run leaves in QEMU for later runs to know: a character device without a backend, whose name is the note.

QEMU's monitor does not show whether an unplug request is still waiting, nor what became of a vCPU that is gone. A note
lives exactly as long as that does: until QEMU ends, across resets of the guest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.monitor import Command

# The vCPU that left this slot had never run.
NEVER_RAN = "never-ran"
# The guest was asked to eject the vCPU of this slot, and may still do so.
UNPLUG = "unplug"

LIST: Command = ("query-chardev", {})

_LABEL = re.compile(r"kvm-hotplug\.([a-z-]{1,20})\.([0-9]{1,6})\.([0-9]{1,10})")


class Note(NamedTuple):
    """What is known of a slot; ``thread`` is the host thread of the vCPU it is about, 0 where none is meant."""

    kind: str
    slot: int
    thread: int = 0

    @property
    def label(self) -> str:
        """The name of the character device."""
        return f"kvm-hotplug.{self.kind}.{self.slot}.{self.thread}"


def read_notes(reply: object) -> frozenset[Note]:
    """Return the notes among what query-chardev returned."""
    found: set[Note] = set()
    for entry in reply if isinstance(reply, list) else []:
        label = entry.get("label") if isinstance(entry, dict) else None
        match = _LABEL.fullmatch(label) if isinstance(label, str) else None
        if match:
            found.add(Note(match.group(1), int(match.group(2)), int(match.group(3))))
    return frozenset(found)


def add(note: Note) -> Command:
    """The command that leaves a note; QEMU refuses it where the note is there already."""
    backend: dict[str, Any] = {"type": "null", "data": {}}
    return "chardev-add", {"id": note.label, "backend": backend}


def remove(note: Note) -> Command:
    """The command that takes a note away; QEMU refuses it where there is none."""
    return "chardev-remove", {"id": note.label}
