# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests for the planner's tests: any topology, state and desired state, and the state after a plan."""

from __future__ import annotations

from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HOTPLUG_UNSUPPORTED, NOT_HOTPLUGGABLE
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    CONFIG,
    DISABLED,
    ENABLED,
    LIVE,
    Blocker,
    ConfigState,
    Entity,
    GuestFacts,
    GuestState,
    Layout,
    LiveState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import (
    CountTarget,
    DesiredState,
    NodeTarget,
    VcpuTarget,
)

UNSAFE = Blocker(NOT_HOTPLUGGABLE, "its plug may end the guest", "set force")
BOOT_VCPU = Blocker(NOT_HOTPLUGGABLE, "the guest booted on it", "leave it enabled")
NO_HOTPLUG = Blocker(HOTPLUG_UNSUPPORTED, "the machine cannot", "take another machine")


def layout(
    sockets: int = 2, cores: int = 2, threads: int = 1, nodes: int = 0, whole_core_entities: bool = False
) -> Layout:
    """Return a machine of ``sockets`` dealt out to ``nodes`` in order; with whole cores, one is an entity."""
    entities: list[Entity] = []
    for socket in range(sockets):
        node = socket * nodes // sockets if nodes else None
        for core in range(cores):
            for thread in range(1 if whole_core_entities else threads):
                size = threads if whole_core_entities else 1
                first = entities[-1].vcpus[-1] + 1 if entities else 0
                position = {"socket": socket, "core": core}
                if not whole_core_entities:
                    position["thread"] = thread
                entities.append(Entity(len(entities), tuple(range(first, first + size)), node, position))
    return Layout(tuple(entities))


def guest(
    machine: Layout,
    live: set[int] | None = None,
    config: set[int] | None = None,
    pinned: tuple[int, ...] = (0,),
    ejecting: tuple[int, ...] = (),
    unsafe: tuple[int, ...] = (),
) -> GuestState:
    """Return a guest with these vCPU ids enabled.

    ``pinned`` are the entities that cannot be disabled live, ``unsafe`` those whose plug may end the guest.
    """
    return GuestState(
        GuestFacts(state="shutoff" if live is None else "running"),
        machine,
        live=None
        if live is None
        else LiveState(
            enabled=frozenset(live),
            ejecting=frozenset(vcpu for index in ejecting for vcpu in machine.entities[index].vcpus),
            cannot_disable=dict.fromkeys(pinned, BOOT_VCPU),
            unsafe_plugs=dict.fromkeys(unsafe, UNSAFE),
        ),
        config=None if config is None else ConfigState(frozenset(config)),
    )


def after(plan: Plan, state: GuestState) -> GuestState:
    """Return what a guest that does all it is asked makes of ``plan``."""
    enabled = {LIVE: set(state.live.enabled) if state.live else set(), CONFIG: set()}
    if state.config:
        enabled[CONFIG] = set(state.config.enabled)
    for step in plan.steps:
        if step.kind.adds:
            enabled[step.target].update(step.vcpus)
        elif step.kind.adds is False:
            enabled[step.target].difference_update(step.vcpus)
    if state.live is not None:
        # What was asked to go is gone, so nothing is on its way out any more.
        state = state._replace(
            live=state.live._replace(
                enabled=frozenset(enabled[LIVE]),
                ejecting=state.live.ejecting & frozenset(enabled[LIVE]),
            ),
        )
    if state.config is not None:
        state = state._replace(config=state.config._replace(enabled=frozenset(enabled[CONFIG])))
    return state


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Any machine up to 6 x 3 x 8 threads, plugged by thread or by core, with nodes or without."""
    sockets = draw(st.integers(1, 6))
    return layout(
        sockets=sockets,
        cores=draw(st.integers(1, 3)),
        threads=draw(st.integers(1, 8)),
        nodes=draw(st.integers(0, sockets)),
        whole_core_entities=draw(st.booleans()),
    )


@st.composite
def states(
    draw: st.DrawFn,
    scopes: tuple[str, ...] = ("live", "config", "both"),
    ejecting: bool = True,
    unsafe: bool = False,
) -> GuestState:
    """Any guest: live, config or both, whole entities enabled, some pinned, some on their way out.

    With ``unsafe``, the plug of some may end the guest.
    """
    machine = draw(layouts())
    indices = [entity.index for entity in machine.entities]

    def some_vcpus() -> set[int]:
        chosen = {0, *draw(st.sets(st.sampled_from(indices)))}
        return {vcpu for index in chosen for vcpu in machine.entities[index].vcpus}

    has = draw(st.sampled_from(scopes))
    live = None if has == "config" else some_vcpus()
    config = None if has == "live" else some_vcpus()
    pinned, leaving, risky = {0}, set(), set()
    if live is not None:
        enabled = [entity.index for entity in machine.entities if live.issuperset(entity.vcpus)]
        pinned |= draw(st.sets(st.sampled_from(enabled), max_size=2))
        if ejecting:
            leaving = draw(st.sets(st.sampled_from(enabled), max_size=2)) - pinned
        if unsafe:
            risky = draw(st.sets(st.sampled_from(indices))) - pinned
    return guest(machine, live, config, tuple(pinned), tuple(leaving), tuple(risky))


@st.composite
def desired_states(
    draw: st.DrawFn, machine: Layout, kinds: tuple[str, ...] = ("vcpus", "nodes", "count")
) -> DesiredState:
    """Any desired state, possible on ``machine`` or slightly outside of it."""
    kind = draw(st.sampled_from(kinds))
    if kind == "count":
        return CountTarget(draw(st.integers(1, machine.max_vcpus + 1)), spread=draw(st.booleans()))
    if kind == "nodes":
        ids = draw(st.sets(st.integers(0, len(machine.nodes)), min_size=1, max_size=3))
        wanted = st.one_of(st.sampled_from([ENABLED, DISABLED]), st.integers(0, machine.max_vcpus))
        return NodeTarget({node: draw(wanted) for node in ids})
    entity_ids = draw(st.sets(st.integers(0, machine.max_vcpus), min_size=1))
    whole = draw(st.booleans())
    by_vcpu = machine.by_vcpu
    ids = {member for vcpu in entity_ids for member in (by_vcpu[vcpu].vcpus if whole and vcpu in by_vcpu else [vcpu])}
    enable = frozenset(vcpu for vcpu in ids if draw(st.booleans()) or whole)
    return VcpuTarget(enable, frozenset(ids) - enable, exclusive=draw(st.booleans()))
