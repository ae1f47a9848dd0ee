# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe a guest through all of its ports, and combine the results into one state."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    AGENT_UNAVAILABLE,
    CONFIG_INVALID,
    GUEST_NOT_READY,
    GUEST_NOT_RUNNING,
    INTERNAL,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestFacts, GuestState, Layout
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports, ReadPorts, ReadSource, opened

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import AgentReader
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import ConfigView
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import MachineView


class Observation(NamedTuple):
    """A guest's state, and its config if it has one.

    ``destination_args`` are QEMU's arguments for the live vCPUs, none if they are unknown.
    """

    state: GuestState
    destination_args: tuple[str, ...] = ()
    config: ConfigView | None = None


class Need(NamedTuple):
    """What a run requires: a config that fits the running guest, an agent whose CPUs can be mapped to vCPUs."""

    config: bool = False
    by_agent: bool = False


NO_NEED = Need()


async def inspect(source: ReadSource) -> tuple[Observation, list[str]]:
    """Open the ports, observe, and close them; return the warnings too. Raises ``HotplugError``."""
    async with opened(source) as ports:
        seen = await observe(ports)
        ports.warn(unsettled_unplugs(seen.state))
        return seen, ports.warnings


def unsettled_unplugs(state: GuestState, settled: Collection[int] = frozenset()) -> str:
    """Return a warning about vCPUs that the guest may unplug at any time, because of an earlier request.

    Those that are to be ``settled`` are left out. Empty if there are none.
    """
    left = frozenset() if state.live is None else state.live.ejecting.difference(settled)
    if not left:
        return ""
    return (
        f"vCPU {format_cpulist(left)} may be unplugged at any time: its unplug was requested, and the guest has not "
        "done so yet; disable it to repeat the request"
    )


async def observe(ports: ReadPorts, need: Need = NO_NEED) -> Observation:
    """Return the state of all ports; a port that fails and is no ``need`` is left out, with a warning.

    Raises the ``HotplugError`` of the first required port that fails.
    """
    view = await ports.machine.observe() if ports.machine is not None else None
    return await _put_together(ports, await with_placements(ports, view), need)


async def observe_again(ports: Ports, need: Need, before: Observation, config_written: bool) -> Observation:
    """Return the state of the machine after its last step, and the present state of config and of the guest OS.

    A config that was not written is that of ``before``.
    """
    view = ports.machine.latest() if ports.machine is not None else None
    return await _put_together(ports, await with_placements(ports, view), need, None if config_written else before)


async def with_placements(ports: ReadPorts, view: MachineView | None) -> MachineView | None:
    """Return the view with where the vCPUs' threads run, as far as this host's kernel shows it."""
    if view is None or ports.threads is None:
        return view
    seen = await ports.threads.observe(view.threads)
    live = view.live._replace(
        placements=seen.placements, host_nodes=seen.host_nodes, hidden=seen.hidden, host_cpus=seen.host_cpus
    )
    return view._replace(live=live)


def remote_memory(state: GuestState) -> str:
    """Return a warning about vCPUs on other host nodes than the memory of their guest node; empty if there are none."""
    if state.live is None or state.tuning is None:
        return ""
    found: list[int] = []
    entities = state.layout.by_vcpu
    for vcpu, host_nodes in state.live.host_nodes.items():
        memory = state.tuning.memory_of(entities[vcpu].node)
        if memory is not None and memory.isdisjoint(host_nodes):
            found.append(vcpu)
    if not found:
        return ""
    return (
        f"vCPU {format_cpulist(found)} may not run on any host node that has the memory of its guest node "
        "(<numatune>): pin it to a CPU of such a node, or move the memory"
    )


async def _put_together(
    ports: ReadPorts, view: MachineView | None, need: Need, known: Observation | None = None
) -> Observation:
    if view is not None:
        ports.warn(view.warning)
    if view is None and ports.config is None and ports.agent is not None:
        return await _of_agent(ports.agent)
    seen = await _without_agent(ports, view, need, known)
    ports.warn(remote_memory(seen.state))
    if ports.agent is None:
        if need.by_agent and view is None:
            raise HotplugError(GUEST_NOT_RUNNING, "the guest is shut off, so its agent is unavailable: start it")
        if need.by_agent:
            raise HotplugError(
                AGENT_UNAVAILABLE,
                "the guest's agent is unknown: set agent_socket, or name a libvirt guest with a channel "
                "org.qemu.guest_agent.0 that the agent in the guest has opened",
            )
        return _with_agent_assumed(seen) if ports.has_agent else seen
    if seen.state.live is not None and not seen.state.live.running:
        if need.by_agent:
            raise HotplugError(
                GUEST_NOT_READY, f"the guest is {seen.state.facts.state}, so its agent cannot reply: resume it"
            )
        return seen
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.online import observe_online

    enabled = seen.state.live.enabled if seen.state.live is not None else _all(seen.state.layout)
    try:
        online = await observe_online(ports.agent, seen.state.layout, enabled, exact=need.by_agent)
    except HotplugError as error:
        if need.by_agent:
            raise
        ports.warn(f"it is unknown whether the guest OS runs on its vCPUs: {error.msg}")
        return seen
    return seen._replace(state=seen.state._replace(online=online))


def _with_agent_assumed(seen: Observation) -> Observation:
    """Assume for a prediction that the guest OS uses all enabled vCPUs, without marking any of them as known."""
    live = seen.state.live
    if live is None or not live.running:
        return seen
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.online import assumed_online

    return seen._replace(state=seen.state._replace(online=assumed_online(live.enabled)))


async def _without_agent(
    ports: ReadPorts, view: MachineView | None, need: Need, known: Observation | None
) -> Observation:
    if ports.config is None:
        return _of_machine(view)
    if known is not None and known.config is not None:
        return _with_config(view, known.config)
    config = await ports.config.observe(None if view is None else view.facts)
    ports.warn(config.warning)
    if view is not None and config.max_vcpus != view.layout.max_vcpus:
        reason = (
            f"the config has {config.max_vcpus} vCPUs at most, the running guest {view.layout.max_vcpus}: "
            "they are equal again after the next boot"
        )
        if config.layout is not None and _alike(config.layout, view.layout):
            ports.warn(reason)
            return _with_config(view, config)
        if need.config:
            raise HotplugError(CONFIG_INVALID, f"{reason}; until then use scope live")
        ports.warn(f"{reason}; config is left out")
        return _of_machine(view)
    return _with_config(view, config)


def _alike(one: Layout, other: Layout) -> bool:
    """Whether the vCPUs that both layouts have are plugged in the same entities."""
    return all(left.vcpus == right.vcpus for left, right in zip(one.entities, other.entities))


def _with_config(view: MachineView | None, config: ConfigView) -> Observation:
    """The layout is that of the running machine, or without one that of the next boot."""
    if view is not None:
        state = GuestState(view.facts, view.layout, live=view.live, config=config.state)
        if config.layout is not None:
            state = state.with_next_boot(config.layout)
        return Observation(state, view.destination_args, config)
    if config.layout is None:
        raise config.layout_error or HotplugError(INTERNAL, f"{config.source} has neither a layout nor a reason")
    return Observation(GuestState(config.facts, config.layout, config=config.state), (), config)


def _of_machine(view: MachineView | None) -> Observation:
    if view is None:
        raise HotplugError(CONFIG_INVALID, "neither a monitor nor a config state nor an agent is known")
    return Observation(GuestState(view.facts, view.layout, live=view.live), view.destination_args)


async def _of_agent(agent: AgentReader) -> Observation:
    """The state of a guest of which only the agent is known."""
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.online import observe_agent_only

    layout, online = await observe_agent_only(agent)
    return Observation(GuestState(GuestFacts(state="running"), layout, online=online))


def _all(layout: Layout) -> frozenset[int]:
    return frozenset(layout.by_vcpu)
