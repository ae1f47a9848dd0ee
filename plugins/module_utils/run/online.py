# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which vCPUs the guest's own system runs on, as its agent tells it, in the ids of the machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.cpu_mapping import logical_ids
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import AGENT_ERROR, NOT_HOTPLUGGABLE, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Blocker, Entity, Layout, OnlineState

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent, GuestCpu

_UNPLUGGED = Blocker(
    NOT_HOTPLUGGABLE, "it is not plugged, and the guest's agent cannot plug", "use method hotplug for it"
)
_UNSEEN = Blocker(
    AGENT_ERROR,
    "it is plugged, but the guest's system does not see it",
    "see the guest's kernel log; it may also still be booting",
)
_STAYS = Blocker(NOT_HOTPLUGGABLE, "the guest's system cannot take it offline", "leave it online")


async def see_online(agent: Agent, max_vcpus: int, enabled: Collection[int], exact: bool) -> OnlineState:
    """Return what the guest's system runs on; ``enabled`` are the vCPUs that are plugged.

    Which of the guest's CPUs is which vCPU cannot always be told: that is agent_error if it has to be ``exact``, else
    nothing is known of any. Raises the ``HotplugError`` of the agent.
    """
    cpus = await agent.cpus()
    slots = await agent.slots([cpu.logical_id for cpu in cpus])
    try:
        translated = logical_ids(max_vcpus, enabled, cpus, slots)
    except HotplugError:
        if exact:
            raise
        translated = {}
    return _state(cpus, translated, max_vcpus, enabled)


async def layout_by_agent(agent: Agent) -> tuple[Layout, frozenset[int]]:
    """Return the layout and the vCPUs of a guest of which only the agent is known; raises its ``HotplugError``.

    Without a machine to ask, the guest's word is all there is: of vCPUs above its highest nothing is known.
    """
    cpus = await agent.cpus()
    numbers = [cpu.logical_id for cpu in cpus]
    slots = await agent.slots(numbers)
    ids = frozenset(slots.values() if slots else numbers)
    return Layout(tuple(Entity(index=vcpu, vcpus=(vcpu,)) for vcpu in range(max(ids) + 1))), ids


def assumed_online(enabled: Collection[int]) -> OnlineState:
    """Return what to take a guest for whose agent is there but must not be asked."""
    return OnlineState(enabled=frozenset(enabled), cannot_disable={0: _STAYS})


def _state(
    cpus: Sequence[GuestCpu], translated: dict[int, GuestCpu], max_vcpus: int, enabled: Collection[int]
) -> OnlineState:
    unplugged = frozenset(range(max_vcpus)) - frozenset(enabled)
    return OnlineState(
        enabled=frozenset(vcpu for vcpu, cpu in translated.items() if cpu.online),
        known=frozenset(enabled) if translated else frozenset(),
        cannot_enable={
            **dict.fromkeys(unplugged, _UNPLUGGED),
            **dict.fromkeys(frozenset(enabled) - translated.keys(), _UNSEEN),
        },
        cannot_disable={vcpu: _STAYS for vcpu, cpu in translated.items() if cpu.online and not cpu.can_offline},
        logical_ids={vcpu: cpu.logical_id for vcpu, cpu in translated.items()},
        all_logical_ids=frozenset(cpu.logical_id for cpu in cpus),
    )
