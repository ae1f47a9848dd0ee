# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config port over libvirt: the next boot's vCPUs, changed through its API.

The domain is defined again only for a maximum that its topology or its cells must follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.edit import edit_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.maximum import with_maximum
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.resize import (
    resize,
    resize_domain,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.state import Definition
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.transition import with_enabled
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.validation import check_next_boot
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.config_calls import (
    calls_for,
    calls_for_maximum,
)
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
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.config_calls import Call
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_reader import DomainReader
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Layout, Maximum

# VIR_DOMAIN_DEFINE_VALIDATE
_VALIDATE = 1 << 0


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
        self._resized: Definition | None = None

    async def resized(self, maximum: Maximum) -> Layout:
        if self._observed is None:
            raise RuntimeError("a maximum was set before the config was observed")
        self._resized, layout = await resize(self._observed, maximum, self._derive_boot)
        return layout

    def check(
        self,
        enabled: frozenset[int],
        layout: Layout | None = None,
        hotpluggable: frozenset[int] = frozenset(),
        maximum: Maximum | None = None,
    ) -> None:
        definition = self._observed if maximum is None else self._resized
        if definition is not None:
            check_next_boot(definition, enabled, layout, hotpluggable, self._forced)

    async def write(
        self,
        enabled: frozenset[int],
        layout: Layout | None = None,
        hotpluggable: frozenset[int] = frozenset(),
        maximum: Maximum | None = None,
    ) -> WriteResult:
        await self._check_defined()
        domain = await self._read()
        # Only the difference is applied: another client may have changed other vCPUs since the observation.
        observed = self._observed or Definition(domain, None)
        before = observed.domain.enabled
        wanted = (domain.enabled | (enabled - before)) - (before - enabled)
        goal = observed._replace(domain=domain)
        if maximum is not None:
            maximum.check(wanted)
            goal = (self._resized or observed)._replace(domain=with_maximum(domain, maximum))
        check_next_boot(goal, wanted, layout, hotpluggable, self._forced)
        machine = goal.layout(layout)
        hotplug = machine is None or machine.hotplug
        calls: tuple[Call, ...] | None = None
        if maximum is None or goal.domain.max_vcpus == domain.max_vcpus:
            calls = calls_for(domain, wanted, hotplug, hotpluggable)
        else:
            calls = calls_for_maximum(domain, goal.domain, wanted, hotplug, hotpluggable)
        try:
            if calls is None and maximum is not None:
                await self._define(maximum, wanted, machine, hotpluggable)
            for call in calls or ():
                await self._connection.call(getattr(self._domain, call.method), *call.arguments)
            failure = None
        except LibvirtCallError as error:
            code, remedy = classify_config_error(error)
            failure = HotplugError(code, f"libvirt reports: {error.desc}; {remedy}")
        self._observed = observed._replace(domain=await self._read())
        found = self._observed.domain
        return WriteResult(
            calls != (), found.enabled, failure=failure, hotpluggable=found.hotpluggable, max_vcpus=found.max_vcpus
        )

    async def _define(
        self, maximum: Maximum, enabled: frozenset[int], layout: Layout | None, hotpluggable: frozenset[int]
    ) -> None:
        """Define the domain again, with only the maximum, the enabled vCPUs and what depends on these changed."""
        data = await self._reader.definition()
        domain, data = resize_domain(data, read_domain(data), maximum)
        data = edit_domain(data, domain, with_enabled(domain, enabled, layout, hotpluggable))
        await self._connection.call(self._connection.handle.defineXMLFlags, data.decode(), _VALIDATE)

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
