# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface of an agent in the guest's own CPU numbers, the same over its socket and over libvirt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import SetResult


class GuestCpu(NamedTuple):
    """A CPU by the guest's own ``number``, which may differ from its vCPU id."""

    number: int
    online: bool
    can_offline: bool


class AgentCommands(Protocol):
    """An agent, for one caller at a time; its errors and time limits are those of the port."""

    async def cpus(self) -> tuple[GuestCpu, ...]:
        """Return the guest's CPUs by number; on some platforms these include possible, not present CPUs."""

    async def slots(self, numbers: Collection[int]) -> Mapping[int, int] | None:
        """Return the vCPU id of each of the CPUs, if the guest's sysfs contains it.

        None if the agent reads no files, or the files do not contain it.
        """

    async def set_cpus(self, wanted: Mapping[int, bool]) -> SetResult:
        """Do ``set_online`` of the port, by numbers instead of ids."""

    async def close(self) -> None:
        """Close the connection; never raises."""
