# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The placer port: the interface to change where the threads of a guest's vCPUs run on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.placement import Placement
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads


class Placer(Protocol):
    """Places threads; the caller then observes them, because what was set need not be what the kernel does."""

    async def place(self, vcpu: int, threads: VcpuThreads, requested: Placement) -> None:
        """Place the thread of ``vcpu``, as far as a placer of this kind can.

        Raises ``HotplugError`` (placement_failed) with the reason and a remedy; a part may then be placed.
        """

    async def release(self, vcpu: int, threads: VcpuThreads) -> None:
        """Remove what ``place`` has created for the thread of ``vcpu``, which has ended.

        What cannot be removed stays, and is used when the vCPU is plugged again.
        """
