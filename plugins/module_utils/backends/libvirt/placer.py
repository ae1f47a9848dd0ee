# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The placer port over libvirt, which places vCPUs when it plugs them: it can only pin a thread again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import PLACEMENT_FAILED, HotplugError

if TYPE_CHECKING:
    import libvirt

    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection
    from ansible_collections.kvm.hotplug.plugins.module_utils.placement import Placement
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads

_AFFECT_LIVE = 1


class LibvirtPlacer:
    """The API of a running domain."""

    def __init__(self, connection: Connection, domain: libvirt.virDomain) -> None:
        self._connection = connection
        self._domain = domain

    async def place(self, vcpu: int, threads: VcpuThreads, requested: Placement) -> None:
        """Pin the thread; libvirt sets neither the scheduler nor the bandwidth of a single vCPU again."""
        if requested.pin is None:
            return
        cpus = parse_cpulist(requested.pin)
        pin = tuple(number in cpus for number in range(max(cpus) + 1))
        try:
            await self._connection.call(self._domain.pinVcpuFlags, vcpu, pin, _AFFECT_LIVE)
        except LibvirtCallError as error:
            raise HotplugError(
                PLACEMENT_FAILED,
                f"libvirt cannot pin it to host CPU {requested.pin}: {error.desc}; correct its pin (virsh vcpupin) or "
                "the cpuset of the domain's control group, or use cputune: ignore",
            ) from None

    async def release(self, vcpu: int, threads: VcpuThreads) -> None:
        """Do nothing: libvirt removes its own control groups."""
