# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of one guest, and the events that follow from its changes."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.load import LoadMeter, Times

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
    from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.outbox import Outbox

CONNECTED = "connected"
DISCONNECTED = "disconnected"
MIGRATED = "migrated"
STARTED = "started"
STATISTICS = "statistics"
STOPPED = "stopped"
VCPU_ADDED = "vcpu_added"
VCPU_REMOVED = "vcpu_removed"

_LOG = logging.getLogger("kvm.hotplug.guests")


class Tracker:
    """Posts the events of one guest; ``label`` is for the log."""

    def __init__(self, label: str, outbox: Outbox) -> None:
        self._label = label
        self._outbox = outbox
        self._load = LoadMeter()
        # The QEMU that is watched: what distinguishes it from the guest's next QEMU, as far as known.
        self._qemu: Hashable | None = None
        self._is_watched = False
        self._was_absent = False
        self._is_lost = False
        self._is_unmeasured = False
        self._vcpus: frozenset[int] | None = None

    def post(self, kind: str, **details: Any) -> None:
        """Post an event."""
        self._outbox.post(kind, details)

    def found(self, qemu: Hashable | None) -> None:
        """The guest runs, in a QEMU that may be another than before; its events are received from now on."""
        is_other = None not in (qemu, self._qemu) and qemu != self._qemu
        if self._is_watched and not is_other:
            return
        if is_other or self._was_absent:
            self.started(qemu)
        else:
            self._watch(qemu)
            self.post(CONNECTED)

    def started(self, qemu: Hashable | None, **details: Any) -> None:
        """The guest was started, or restored."""
        if self._is_watched and qemu is not None and qemu == self._qemu:
            return
        self.arrives(qemu)
        self.post(STARTED, **details)

    def arrives(self, qemu: Hashable | None) -> None:
        """Another QEMU waits for the guest, which is migrated to it."""
        self._vcpus = None
        self._load = LoadMeter()
        self._is_unmeasured = False
        self._watch(qemu)

    def absent(self) -> None:
        """The guest does not run, which is no event by itself."""
        self._is_watched = self._is_lost = False
        self._was_absent = True

    def disconnected(self, error: HotplugError, is_absent: bool = False) -> None:
        """Events cannot be received; this is posted once until the guest is found again.

        ``is_absent`` if the QEMU has ended, so that the next one is another.
        """
        self._was_absent |= is_absent
        self._is_watched = False
        if not self._is_lost:
            self._is_lost = True
            _LOG.warning("%s: %s", self._label, error.msg)
            self.post(DISCONNECTED, code=error.code)

    def observe(self, vcpus: frozenset[int]) -> None:
        """These vCPUs are plugged now."""
        before, self._vcpus = self._vcpus, vcpus
        if before is None:
            return
        for kind, changed in ((VCPU_ADDED, vcpus - before), (VCPU_REMOVED, before - vcpus)):
            if changed:
                self.post(kind, vcpus=format_cpulist(changed))

    def measure(self, now: float, times: Times) -> None:
        """Post the statistics since the measurement before; ``now`` and the CPU ``times`` of vCPUs are in seconds."""
        load = self._load.since_last(now, times)
        if load is not None:
            self._outbox.post_if_idle(STATISTICS, load)

    def cannot_measure(self, reason: str) -> None:
        """Log why there are no statistics, once for each QEMU."""
        if not self._is_unmeasured:
            self._is_unmeasured = True
            _LOG.warning("%s: no statistics: %s", self._label, reason)

    def _watch(self, qemu: Hashable | None) -> None:
        self._qemu = qemu
        self._is_watched = True
        self._was_absent = self._is_lost = False
