# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config port on a file of domain XML, for observing it: for QEMU guests not managed by libvirt."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml import regular_file
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.encoding import SIZE_LIMIT
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.state import (
    Definition,
    DeriveBoot,
    define,
    facts_of,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.identity import difference
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, INTERNAL, HotplugError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestFacts
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import ConfigView


class XmlFileReader:
    """A file of domain XML; ``derive_boot`` returns the machine of its next boot."""

    def __init__(self, path: str, derive_boot: DeriveBoot) -> None:
        self._path = path
        self._derive_boot = derive_boot
        self._observed: Definition | None = None
        self._running: GuestFacts | None = None

    async def observe(self, running: GuestFacts | None = None) -> ConfigView:
        self._running = running
        domain = await asyncio.to_thread(self._read)
        found = await define(domain, self._derive_boot)
        self._observed = found._replace(error=self._named(found.error) if found.error is not None else None)
        return self._observed.view(self._path, self._warning(domain))

    async def close(self) -> None:
        return None

    def _warning(self, _domain: Domain) -> str:
        """What the user should know about the file as it was observed."""
        return ""

    def _read(self) -> Domain:
        return self._parsed(regular_file.read(self._path, SIZE_LIMIT))

    def _parsed(self, data: bytes) -> Domain:
        try:
            domain = read_domain(data)
        except HotplugError as error:
            raise self._named(error) from None
        found = None if self._running is None else difference(self._running, facts_of(domain))
        if found is not None:
            raise HotplugError(
                CONFIG_INVALID,
                f"{self._path} is the config of another guest than the running one: its {found.what} is "
                f"{found.config}, that of the running guest is {found.running}; name the file of this guest, or "
                "correct the file",
            )
        return domain

    def _named(self, error: HotplugError) -> HotplugError:
        if error.code not in (CONFIG_INVALID, INTERNAL):
            return error
        return HotplugError(error.code, f"{self._path}: {error.msg}")
