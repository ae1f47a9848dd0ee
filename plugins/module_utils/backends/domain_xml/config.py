# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config port on a file of domain XML, for changing it: for QEMU guests not managed by libvirt."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml import atomic_file, locked_file
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import RFC, Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.edit import edit_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.encoding import SIZE_LIMIT
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.nodes import nodes_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.reader import XmlFileReader
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.resize import (
    resize,
    resize_domain,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.state import Definition, DeriveBoot
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.transition import with_enabled
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.validation import check_next_boot
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import WriteResult

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Layout, Maximum


class XmlFile(XmlFileReader):
    """A file of domain XML; ``derive_boot`` returns the machine of its next boot.

    ``timeout`` is how long another run may keep it locked, in seconds. ``detail`` is one of ``xml_edit.DETAILS``,
    or None for the attributes that the file has. With ``backup`` the first write copies the file in the same folder.
    """

    def __init__(
        self,
        path: str,
        timeout: float,
        derive_boot: DeriveBoot,
        backup: bool = False,
        detail: str | None = None,
        forced: bool = False,
    ) -> None:
        super().__init__(path, derive_boot)
        self._timeout = timeout
        self._backup = backup
        self._detail = detail
        self._forced = forced
        self._backup_file: str | None = None
        self._resized: Definition | None = None

    async def resized(self, maximum: Maximum) -> Layout:
        if self._observed is None:
            raise RuntimeError("a maximum was set before the config was observed")
        try:
            self._resized, layout = await resize(self._observed, maximum, self._derive_boot)
        except HotplugError as error:
            raise self._named(error) from None
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
            self._check(definition, enabled, layout, hotpluggable)

    async def write(
        self,
        enabled: frozenset[int],
        layout: Layout | None = None,
        hotpluggable: frozenset[int] = frozenset(),
        maximum: Maximum | None = None,
    ) -> WriteResult:
        ended = threading.Event()
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, enabled, layout, hotpluggable, maximum, ended))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            # A thread cannot be cancelled. It stops waiting for the lock; the file is written completely or not at all.
            ended.set()
            await asyncio.gather(writing, return_exceptions=True)
            raise

    def _warning(self, domain: Domain) -> str:
        if self._detail is None or domain.dialect == RFC:
            return ""
        return f"xml_detail changes nothing in {self._path}: its <vcpus> is not in the RFC's dialect, or it has none"

    def _write(
        self,
        enabled: frozenset[int],
        layout: Layout | None,
        hotpluggable: frozenset[int],
        maximum: Maximum | None,
        ended: threading.Event,
    ) -> WriteResult:
        with locked_file.locked(self._path, SIZE_LIMIT, self._timeout, ended) as held:
            domain = self._parsed(held.data)
            # Only the difference is applied: another run may have changed other vCPUs since the observation.
            observed = self._observed or Definition(domain, None)
            before = observed.domain.enabled
            wanted = (domain.enabled | (enabled - before)) - (before - enabled)
            try:
                now, data = self._with_maximum(held.data, observed._replace(domain=domain), wanted, maximum)
                check_next_boot(now, wanted, layout, hotpluggable, self._forced)
                goal, data = self._edited(data, now, wanted, layout, hotpluggable)
            except HotplugError as error:
                raise self._named(error) from None
            warning = ""
            if data != held.data:
                backup_file = atomic_file.replace(held, data, self._backup and self._backup_file is None)
                self._backup_file = self._backup_file or backup_file
                warning = self._warning_of_links(held.status.st_nlink)
            self._observed = now._replace(domain=goal)
            return WriteResult(
                data != held.data,
                goal.enabled,
                self._backup_file,
                warning=warning,
                hotpluggable=goal.hotpluggable,
                max_vcpus=goal.max_vcpus,
            )

    def _with_maximum(
        self, data: bytes, now: Definition, wanted: frozenset[int], maximum: Maximum | None
    ) -> tuple[Definition, bytes]:
        if maximum is None:
            return now, data
        maximum.check(wanted)
        domain, data = resize_domain(data, now.domain, maximum)
        return (self._resized or now)._replace(domain=domain), data

    def _warning_of_links(self, names: int) -> str:
        if names == 1:
            return ""
        return (
            f"{self._path} was one of {names} names of a file (hard links): it is a separate file now, and the "
            "others keep the old config; use symbolic links, which are followed"
        )

    def _check(
        self,
        definition: Definition,
        enabled: frozenset[int],
        layout: Layout | None,
        hotpluggable: frozenset[int],
    ) -> None:
        try:
            check_next_boot(definition, enabled, layout, hotpluggable, self._forced)
        except HotplugError as error:
            raise self._named(error) from None

    def _edited(
        self,
        data: bytes,
        definition: Definition,
        wanted: frozenset[int],
        running: Layout | None,
        hotpluggable: frozenset[int],
    ) -> tuple[Domain, bytes]:
        domain, layout = definition.domain, definition.layout(running)
        goal = with_enabled(domain, wanted, layout, hotpluggable)
        entities = () if layout is None else layout.entities
        nodes = {vcpu: entity.node for entity in entities if entity.node is not None for vcpu in entity.vcpus}
        return goal, edit_domain(data, domain, goal, self._detail, nodes or nodes_of(domain))
