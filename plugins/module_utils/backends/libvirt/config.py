# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config port over libvirt: the next boot's vCPUs, changed through its API and never by redefining the domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.state import Definition
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.validation import check_next_boot
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.config_calls import calls_for
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.config_reader import LibvirtConfigReader
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import (
    LibvirtCallError,
    classify_config_error,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import GUEST_NOT_FOUND, HotplugError, printable
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import WriteResult

if TYPE_CHECKING:
    import libvirt

    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.state import DeriveBoot
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_reader import DomainReader
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Layout


class LibvirtConfig(LibvirtConfigReader):
    """The persistent definition of a domain; ``forced`` allows vCPUs on nodes without memory."""

    def __init__(
        self,
        connection: Connection,
        domain: libvirt.virDomain,
        reader: DomainReader,
        derive_boot: DeriveBoot,
        source: str,
        forced: bool,
        saved: bool,
    ) -> None:
        super().__init__(reader, derive_boot, source, saved)
        self._connection = connection
        self._domain = domain
        self._forced = forced

    def check(
        self, enabled: frozenset[int], layout: Layout | None = None, hotpluggable: frozenset[int] = frozenset()
    ) -> None:
        if self._observed is not None:
            check_next_boot(self._observed, enabled, layout, hotpluggable, self._forced)

    async def write(
        self, enabled: frozenset[int], layout: Layout | None = None, hotpluggable: frozenset[int] = frozenset()
    ) -> WriteResult:
        await self._check_defined()
        domain = await self._read()
        # Only the difference is applied: another client may have changed other vCPUs since the observation.
        observed = self._observed or Definition(domain, None)
        before = observed.domain.enabled
        wanted = (domain.enabled | (enabled - before)) - (before - enabled)
        check_next_boot(observed._replace(domain=domain), wanted, layout, hotpluggable, self._forced)
        machine = observed.layout(layout)
        todo = calls_for(domain, wanted, machine is None or machine.hotplug, hotpluggable)
        failure = None
        for call in todo:
            try:
                await self._connection.call(getattr(self._domain, call.method), *call.arguments)
            except LibvirtCallError as error:
                code, remedy = classify_config_error(error)
                failure = HotplugError(code, f"libvirt reports: {error.desc}; {remedy}")
                break
        self._observed = observed._replace(domain=await self._read())
        found = self._observed.domain
        return WriteResult(bool(todo), found.enabled, failure=failure, hotpluggable=found.hotpluggable)

    async def _check_defined(self) -> None:
        """Raise guest_not_found for a guest that was undefined: while it runs, libvirt returns its live XML instead."""
        try:
            persistent = await self._connection.call(self._domain.isPersistent)
        except LibvirtCallError as error:
            raise error.error("cannot read the config state") from None
        if not persistent:
            raise HotplugError(
                GUEST_NOT_FOUND,
                f"libvirt at {printable(self._source)} no longer has a definition of the guest: it was undefined "
                "meanwhile; define it again, or use scope live",
            )
