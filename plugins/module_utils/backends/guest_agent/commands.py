# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent is asked, in the guest's own numbers of its CPUs: the same over its socket and over libvirt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import SetResult


class GuestCpu(NamedTuple):
    """A CPU by the guest's own ``number``, which need not be the id of the vCPU that it is."""

    number: int
    online: bool
    can_offline: bool


class AgentCommands(Protocol):
    """An agent, for one caller at a time; its errors and time limits are those of the port."""

    async def cpus(self) -> tuple[GuestCpu, ...]:
        """Return the guest's CPUs by number; on some platforms these are also some it could have."""

    async def slots(self, numbers: Collection[int]) -> Mapping[int, int] | None:
        """Return the vCPU id behind each of the CPUs, as far as the guest's sysfs has it.

        None where the agent reads no files, or they do not have it.
        """

    async def set_cpus(self, wanted: Mapping[int, bool]) -> SetResult:
        """Do ``set_online`` of the port, by numbers instead of ids."""

    async def close(self) -> None:
        """Close the connection; never raises."""
