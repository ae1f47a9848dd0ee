# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host through its libvirt daemon: its CPUs and all its guests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.uris import hypervisor_of
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Host

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection

# virConnectGetAllDomainStats: of vCPUs, of active domains, without waiting for calls that keep one.
_STATS_VCPU = 1 << 3
_ACTIVE = 1 << 0
_NOWAIT = 1 << 29
_RECORDED = re.compile(r"vcpu\.([0-9]{1,6})\.state")


async def observe(connection: Connection) -> Host:
    """Return the host; raises ``HotplugError``."""
    try:
        info = await connection.call(connection.handle.getInfo)
        stats = await connection.call(connection.handle.getAllDomainStats, _STATS_VCPU, _ACTIVE | _NOWAIT)
    except LibvirtCallError as error:
        raise error.error("cannot inspect the host") from None
    guests = {domain.UUIDString(): sum(1 for key in found if _RECORDED.fullmatch(key)) for domain, found in stats}
    return Host(hypervisor_of(connection.uri), info[2], guests)


async def names_of_all(connection: Connection) -> dict[str, str]:
    """Return the names of all domains, running or not, by their UUIDs; raises ``HotplugError``."""
    try:
        domains = await connection.call(connection.handle.listAllDomains)
    except LibvirtCallError as error:
        raise error.error("cannot list the guests") from None
    return {domain.UUIDString(): domain.name() for domain in domains}
