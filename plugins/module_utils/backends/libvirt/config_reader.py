# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config port over libvirt, for observing the vCPUs of the next boot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.state import define
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.state import Definition, DeriveBoot
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_reader import DomainReader
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestFacts
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import ConfigView


class LibvirtConfigReader:
    """The persistent definition of a domain.

    ``source`` is the name of its libvirt for messages; ``saved`` is whether the domain has a managed save.
    """

    def __init__(self, reader: DomainReader, derive_boot: DeriveBoot, source: str, saved: bool) -> None:
        self._reader = reader
        self._derive_boot = derive_boot
        self._source = source
        self._saved = saved
        self._observed: Definition | None = None

    async def observe(self, running: GuestFacts | None = None) -> ConfigView:
        self._observed = await define(await self._read(), self._derive_boot)
        return self._observed.view(self._source, self._warning())

    async def close(self) -> None:
        return None

    async def _read(self) -> Domain:
        try:
            return await self._reader.config()
        except LibvirtCallError as error:
            raise error.error("cannot read the config state") from None

    def _warning(self) -> str:
        if not self._saved:
            return ""
        return (
            "the guest has a managed save, so its next start resumes it with the vCPUs it was saved with: the config "
            "state applies from the boot after that (or after virsh managedsave-remove)"
        )
