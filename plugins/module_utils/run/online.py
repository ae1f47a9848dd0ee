# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which vCPUs the guest's own system runs on, by its agent."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import AGENT_ERROR, NOT_HOTPLUGGABLE
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Blocker, Entity, Layout, OnlineState

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent, AgentView

_UNPLUGGED = Blocker(
    NOT_HOTPLUGGABLE, "it is not plugged, and the guest's agent cannot plug", "plug it first, with method hotplug"
)
_UNSEEN = Blocker(
    AGENT_ERROR,
    "it is plugged, but the guest's system does not see it",
    "see the guest's kernel log; it may also still be booting",
)
_STAYS = Blocker(NOT_HOTPLUGGABLE, "the guest's system cannot take it offline", "leave it online")


async def observe_online(agent: Agent, layout: Layout, plugged: Collection[int], exact: bool) -> OnlineState:
    """Return which of the vCPUs that are ``plugged`` the guest's system runs on.

    Which of the guest's CPUs is which vCPU is not always known: that is an error if it has to be ``exact``, else no
    vCPU is known to be online or offline. Raises the ``HotplugError`` of the agent.
    """
    view = await agent.observe(plugged)
    if view.mismatch is None:
        return _state(view, layout, frozenset(plugged))
    if exact:
        raise view.mismatch
    return OnlineState(frozenset(), cannot_enable=_cannot_enable(frozenset(), layout, frozenset(plugged)))


async def observe_agent_alone(agent: Agent) -> tuple[Layout, OnlineState]:
    """Return the layout and the state of a guest of which only the agent is known; raises its ``HotplugError``.

    What the guest's system sees is then all that is known: nothing of vCPUs above its highest.
    """
    view = await agent.observe(None)
    layout = Layout(tuple(Entity(index=vcpu, vcpus=(vcpu,)) for vcpu in range(max(view.vcpus) + 1)))
    return layout, _state(view, layout, frozenset(view.vcpus))


def assumed_online(enabled: Collection[int]) -> OnlineState:
    """Return what to take a guest for whose agent is there but must not be asked."""
    return OnlineState(enabled=frozenset(enabled), cannot_disable={0: _STAYS})


def _state(view: AgentView, layout: Layout, plugged: frozenset[int]) -> OnlineState:
    return OnlineState(
        enabled=frozenset(vcpu for vcpu, seen in view.vcpus.items() if seen.online),
        known=plugged,
        cannot_enable=_cannot_enable(frozenset(view.vcpus), layout, plugged),
        cannot_disable={vcpu: _STAYS for vcpu, seen in view.vcpus.items() if seen.online and not seen.can_offline},
    )


def _cannot_enable(seen: frozenset[int], layout: Layout, plugged: frozenset[int]) -> dict[int, Blocker]:
    return {
        **dict.fromkeys(frozenset(layout.by_vcpu) - plugged, _UNPLUGGED),
        **dict.fromkeys(plugged - seen, _UNSEEN),
    }
