# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes of runs in the metadata of a running domain: elements whose namespaces are the notes.

libvirt keeps them as long as the domain runs, also while the daemon restarts, in the order in which they were written.
They are not part of the config state, and do not taint the domain.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# A run has requested the unplug of the vCPU, and the guest may still carry it out.
REQUESTED = "requested"
# A run that has requested it has found it done.
COMPLETED = "completed"

PREFIX = "kvm-hotplug"
_NAMESPACE = re.compile(
    r"urn:kvm-hotplug:unplug:([a-z]{1,20}):([0-9]{1,6}):([0-9]{1,10}):([0-9]{1,10}):([0-9a-f]{32})(?![0-9a-f])"
)


class Note(NamedTuple):
    """A note of the run ``run`` on an entity, by its first vCPU.

    ``domain`` is the domain's id, which each start of the domain changes. ``thread`` is the vCPU's host thread, 0 if
    the run could not see it.
    """

    kind: str
    vcpu: int
    domain: int
    thread: int
    run: str

    @property
    def namespace(self) -> str:
        return f"urn:kvm-hotplug:unplug:{self.kind}:{self.vcpu}:{self.domain}:{self.thread}:{self.run}"

    @property
    def completed(self) -> Note:
        return self._replace(kind=COMPLETED)

    def is_of_same_vcpu(self, other: Note) -> bool:
        """Whether both are on the same vCPU, and not on another one that was plugged into the slot later."""
        is_same_thread = self.thread == other.thread or not self.thread or not other.thread
        return (self.vcpu, self.domain) == (other.vcpu, other.domain) and is_same_thread


def read_notes(xml: str) -> tuple[Note, ...]:
    """Return the notes in the XML of a running domain, the first one that was written first."""
    return tuple(
        Note(kind, int(vcpu), int(domain), int(thread), run)
        for kind, vcpu, domain, thread, run in _NAMESPACE.findall(xml)
        if kind in (REQUESTED, COMPLETED)
    )
