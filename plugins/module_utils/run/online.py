# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vCPUs that the guest OS runs on, by its agent."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import AGENT_ERROR, NOT_HOTPLUGGABLE
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Blocker, Entity, Layout, OnlineState

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import AgentReader, AgentView

_UNPLUGGED = Blocker(
    NOT_HOTPLUGGABLE, "it is not plugged, and method agent cannot plug it", "plug it first, with method hotplug"
)
_NOT_DETECTED = Blocker(
    AGENT_ERROR,
    "it is plugged, but the guest OS has not detected it",
    "see the guest's kernel log; the guest may also still be booting",
)
_CANNOT_OFFLINE = Blocker(NOT_HOTPLUGGABLE, "the guest OS cannot offline it", "leave it online")


async def observe_online(agent: AgentReader, layout: Layout, plugged: Collection[int], exact: bool) -> OnlineState:
    """Return which of the vCPUs that are ``plugged`` the guest OS runs on.

    The guest's CPUs cannot always be mapped to vCPUs: that is an error if it has to be ``exact``, else no vCPU is known
    to be online or offline. Raises the ``HotplugError`` of the agent.
    """
    view = await agent.observe(plugged)
    if view.mismatch is None:
        return _state(view, layout, frozenset(plugged))
    if exact:
        raise view.mismatch
    return OnlineState(frozenset(), cannot_enable=_cannot_enable(frozenset(), layout, frozenset(plugged)))


async def observe_agent_only(agent: AgentReader) -> tuple[Layout, OnlineState]:
    """Return the layout and the state of a guest of which only the agent is known; raises its ``HotplugError``.

    vCPUs above the highest CPU of the guest OS are then unknown.
    """
    view = await agent.observe(None)
    layout = Layout(tuple(Entity(index=vcpu, vcpus=(vcpu,)) for vcpu in range(max(view.vcpus) + 1)))
    return layout, _state(view, layout, frozenset(view.vcpus))


def assumed_online(enabled: Collection[int]) -> OnlineState:
    """Return the assumed state of a guest with an agent that must not be queried."""
    return OnlineState(enabled=frozenset(enabled), cannot_disable={0: _CANNOT_OFFLINE})


def _state(view: AgentView, layout: Layout, plugged: frozenset[int]) -> OnlineState:
    return OnlineState(
        enabled=frozenset(vcpu for vcpu, seen in view.vcpus.items() if seen.online),
        known=plugged,
        cannot_enable=_cannot_enable(frozenset(view.vcpus), layout, plugged),
        cannot_disable={
            vcpu: _CANNOT_OFFLINE for vcpu, seen in view.vcpus.items() if seen.online and not seen.can_offline
        },
    )


def _cannot_enable(seen: frozenset[int], layout: Layout, plugged: frozenset[int]) -> dict[int, Blocker]:
    return {
        **dict.fromkeys(frozenset(layout.by_vcpu) - plugged, _UNPLUGGED),
        **dict.fromkeys(plugged - seen, _NOT_DETECTED),
    }
