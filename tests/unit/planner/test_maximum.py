# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans for guests whose next boot has another maximum: for any machine, the states meet in what both can have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    ADD,
    CONFIG,
    LIVE,
    REMOVE,
    ConfigState,
    GuestFacts,
    GuestState,
    Layout,
    LiveState,
    Maximum,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import make_plan
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.prediction import predict
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import CountTarget, NodeTarget
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request

from ..support.guests import desired_states, guest, layout


def first(machine: Layout, entities: int) -> Layout:
    return machine._replace(entities=machine.entities[:entities])


@st.composite
def guests(draw: st.DrawFn, running: bool | None = None) -> tuple[GuestState, Layout]:
    """Any guest, and the layout of its next boot with another maximum."""
    machine = layout(
        sockets=draw(st.integers(2, 5)),
        threads=draw(st.integers(1, 3)),
        nodes=draw(st.integers(0, 2)),
        whole_core_entities=draw(st.booleans()),
    )
    size = len(machine.entities)
    now, then = draw(st.permutations(range(1, size + 1)))[:2]
    runs = draw(st.booleans()) if running is None else running

    def some(most: int) -> set[int]:
        chosen = {0, *draw(st.sets(st.integers(0, most - 1)))}
        return {vcpu for index in chosen for vcpu in machine.entities[index].vcpus}

    return guest(first(machine, now), some(now) if runs else None, some(now)), first(machine, then)


@given(guests(), st.data())
def test_a_plan_reaches_the_maximum_and_a_second_has_no_steps(
    pair: tuple[GuestState, Layout], data: st.DataObject
) -> None:
    state, next_boot = pair
    desired = data.draw(st.one_of(st.none(), desired_states(next_boot)))
    request = Request(desired, guest_online="ignore", drain=False, maximum=Maximum(next_boot.max_vcpus))
    try:
        plan = make_plan(request, state, next_boot)
    except HotplugError:
        return
    assert plan.changes
    reached = predict(state, plan)
    assert reached.layout_of(CONFIG).max_vcpus == next_boot.max_vcpus
    assert max(plan.reached[CONFIG], default=0) < next_boot.max_vcpus
    assert reached.layout == state.layout or state.live is None
    again = make_plan(request, reached)
    assert not again.changes
    removes, adds = plan.steps[-1].kind == REMOVE, any(step.kind == ADD for step in plan.steps)
    assert removes is (next_boot.max_vcpus < state.layout.max_vcpus)
    assert adds is (next_boot.max_vcpus > state.layout.max_vcpus)


@given(guests(running=True), st.data())
def test_with_different_maxima_both_states_get_what_both_can_have(
    pair: tuple[GuestState, Layout], data: st.DataObject
) -> None:
    state, next_boot = pair
    assert state.live is not None
    config = frozenset(vcpu for vcpu in state.live.enabled if vcpu < next_boot.max_vcpus)
    state = state._replace(config=ConfigState(config)).with_next_boot(next_boot)
    desired = data.draw(desired_states(next_boot))
    try:
        plan = make_plan(Request(desired, guest_online="ignore", drain=False), state)
    except HotplugError:
        return
    for scope in (LIVE, CONFIG):
        assert plan.reached[scope] <= set(state.layout_of(scope).by_vcpu)
    if isinstance(desired, CountTarget):
        assert plan.reached[LIVE] == plan.reached[CONFIG]
    assert not make_plan(Request(desired, guest_online="ignore", drain=False), predict(state, plan)).changes


def test_all_vcpus_of_a_node_are_all_that_each_state_can_have() -> None:
    machine = layout(sockets=4, cores=1)
    entities = tuple(
        entity.__class__(entity.index, entity.vcpus, entity.index % 2, entity.position) for entity in machine.entities
    )
    then = Layout(entities)
    state = GuestState(
        GuestFacts(state="running"), first(then, 2), LiveState(frozenset({0})), ConfigState(frozenset({0}), layout=then)
    )
    plan = make_plan(Request(NodeTarget({1: "enabled"}), guest_online="ignore", drain=False), state)
    assert plan.reached == {LIVE: {0, 1}, CONFIG: {0, 1, 3}}


@pytest.mark.parametrize(
    ("live", "config", "remedy"),
    [
        ({0}, None, "start the guest with a larger maximum"),
        (None, {0}, "raise the maximum with the option maximum"),
        ({0}, {0}, "with the options maximum and scope: config, and shut down and start it"),
    ],
)
def test_what_is_above_the_maximum_is_refused_with_how_to_raise_it(
    live: set[int] | None, config: set[int] | None, remedy: str
) -> None:
    with pytest.raises(HotplugError) as refused:
        make_plan(Request(CountTarget(9)), guest(layout(), live, config))
    assert refused.value.code == "count_unreachable"
    assert refused.value.msg.endswith(remedy)
