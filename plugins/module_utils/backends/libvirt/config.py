# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config port over libvirt: the next boot's vCPUs, changed through its API and never by redefining the domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.state import Definition, define
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.config_calls import calls_for
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import (
    LibvirtCallError,
    classify_config_error,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import GUEST_NOT_FOUND, HotplugError, printable
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import ConfigView, WriteResult

if TYPE_CHECKING:
    import libvirt

    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.state import DeriveBoot
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.reader import Reader
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestFacts, Layout


class LibvirtConfig:
    """The persistent definition of a domain; ``forced`` allows vCPUs on nodes without memory."""

    def __init__(
        self,
        connection: Connection,
        domain: libvirt.virDomain,
        reader: Reader,
        derive_boot: DeriveBoot,
        source: str,
        forced: bool,
        saved: bool,
    ) -> None:
        self._connection = connection
        self._domain = domain
        self._reader = reader
        self._derive_boot = derive_boot
        self._source = source
        self._forced = forced
        self._saved = saved
        self._observed: Definition | None = None

    async def observe(self, running: GuestFacts | None = None) -> ConfigView:
        self._observed = await define(await self._read(), self._derive_boot)
        return self._observed.view(self._source, self._warning())

    def check(
        self, enabled: frozenset[int], layout: Layout | None = None, hotpluggable: frozenset[int] = frozenset()
    ) -> None:
        if self._observed is not None:
            self._observed.check(enabled, layout, hotpluggable, self._forced)

    async def write(
        self, enabled: frozenset[int], layout: Layout | None = None, hotpluggable: frozenset[int] = frozenset()
    ) -> WriteResult:
        await self._check_defined()
        domain = await self._read()
        # Only the difference is applied: another client may have changed other vCPUs since the observation.
        observed = self._observed or Definition(domain, None)
        before = observed.domain.enabled
        wanted = (domain.enabled | (enabled - before)) - (before - enabled)
        observed._replace(domain=domain).check(wanted, layout, hotpluggable, self._forced)
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

    async def close(self) -> None:
        return None

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
