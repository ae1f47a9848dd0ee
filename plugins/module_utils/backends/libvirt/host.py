# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host through its libvirt daemon: its CPUs and all its guests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.uris import hypervisor_of
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Host

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection

_ACTIVE = 1 << 0


async def observe(connection: Connection) -> Host:
    """Return the host; raises ``HotplugError``.

    The statistics of all domains would be one call, for which libvirt sends query-stats, see ``DomainReader.again``.
    """
    try:
        cpus = (await connection.call(connection.handle.getInfo))[2]
        domains = await connection.call(connection.handle.listAllDomains, _ACTIVE)
    except LibvirtCallError as error:
        raise error.error("cannot inspect the host") from None
    guests: dict[str, int] = {}
    for domain in domains:
        # It may end meanwhile.
        with contextlib.suppress(LibvirtCallError):
            guests[domain.UUIDString()] = (await connection.call(domain.info))[3]
    return Host(hypervisor_of(connection.uri), cpus, guests)


async def names_of_all(connection: Connection) -> dict[str, str]:
    """Return the names of all domains, running or not, by their UUIDs; raises ``HotplugError``."""
    try:
        domains = await connection.call(connection.handle.listAllDomains)
    except LibvirtCallError as error:
        raise error.error("cannot list the guests") from None
    return {domain.UUIDString(): domain.name() for domain in domains}
