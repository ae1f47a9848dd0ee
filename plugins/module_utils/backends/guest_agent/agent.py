# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent port over any agent: translates between vCPU ids and the guest's own CPU numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.commands import AgentCommands, GuestCpu
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.cpu_mapping import (
    cpus_without_machine,
    match_cpus,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import AGENT_ERROR, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import AgentView, GuestVcpu, SetResult

# The guest's CPUs that may be a vCPU: one, or all new ones if the mapping is unknown.
Candidates = tuple[GuestCpu, ...]


class GuestAgent:
    """The agent that receives ``commands``."""

    def __init__(self, commands: AgentCommands) -> None:
        self._commands = commands
        self._numbers: dict[int, tuple[int, ...]] = {}
        self._first: tuple[frozenset[int], frozenset[int]] | None = None

    async def observe(self, plugged: Collection[int] | None) -> AgentView:
        cpus = await self._commands.cpus()
        slots = await self._commands.slots([cpu.number for cpu in cpus])
        mismatch: HotplugError | None = None
        try:
            matched = cpus_without_machine(cpus, slots) if plugged is None else match_cpus(plugged, cpus, slots)
            found: dict[int, Candidates] = {vcpu: (cpu,) for vcpu, cpu in matched.items()}
            self._numbers = {}
        except HotplugError as error:
            mismatch = error
            found = self._new_cpus(frozenset(plugged or ()), cpus)
        if self._first is None:
            self._first = (frozenset(plugged or ()), frozenset(cpu.number for cpu in cpus))
        self._numbers.update((vcpu, tuple(cpu.number for cpu in candidates)) for vcpu, candidates in found.items())
        return AgentView({vcpu: _seen(candidates) for vcpu, candidates in found.items()}, mismatch)

    async def set_online(self, wanted: Mapping[int, bool]) -> SetResult:
        unseen = [vcpu for vcpu in wanted if vcpu not in self._numbers]
        if unseen:
            reason = f"the guest OS has not detected vCPU {unseen[0]}"
            return SetResult((), unseen[0], AGENT_ERROR, reason, refused=True)
        result = await self._commands.set_cpus(
            {number: online for vcpu, online in wanted.items() for number in self._numbers[vcpu]}
        )
        return result._replace(
            processed=tuple(vcpu for vcpu in wanted if set(self._numbers[vcpu]).issubset(result.processed)),
            stopped_at=next((vcpu for vcpu in wanted if result.stopped_at in self._numbers[vcpu]), None),
        )

    async def close(self) -> None:
        await self._commands.close()

    def _new_cpus(self, plugged: frozenset[int], cpus: Sequence[GuestCpu]) -> dict[int, Candidates]:
        """The CPUs that appeared since the first view, for each of the vCPUs plugged since; none until all have."""
        if self._first is None:
            return {}
        had, numbers = self._first
        new = tuple(cpu for cpu in cpus if cpu.number not in numbers)
        return dict.fromkeys(sorted(plugged - had), new) if len(new) >= len(plugged - had) else {}


def _seen(candidates: Candidates) -> GuestVcpu:
    return GuestVcpu(
        all(cpu.online for cpu in candidates),
        all(cpu.can_offline for cpu in candidates),
    )
