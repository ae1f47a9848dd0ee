# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine port over libvirt, for observing a running guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_state import Record, machine_view
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import INTERNAL, HotplugError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_reader import DomainReader
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import MachineView


class LibvirtMachineReader:
    """A domain that runs."""

    def __init__(self, reader: DomainReader) -> None:
        self._reader = reader
        self._record: Record | None = None

    async def observe(self) -> MachineView:
        try:
            self._record = await self._reader.record()
        except LibvirtCallError as error:
            raise error.error("cannot observe the guest") from None
        return machine_view(self._record)

    async def close(self) -> None:
        return None

    @property
    def _observed(self) -> Record:
        if self._record is None:
            raise HotplugError(INTERNAL, "the guest was not observed yet")
        return self._record
