# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Properties of plans for every topology, state and desired state."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    COUNT_UNREACHABLE,
    NOT_HOTPLUGGABLE,
    PARTIAL_ENTITY,
    UNKNOWN_NODE,
    UNKNOWN_VCPU,
    UNPLUG_PENDING,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    CONFIG,
    DISABLED,
    ENABLED,
    LIVE,
    PLUG,
    UNPLUG,
    GuestState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import (
    CountTarget,
    DesiredState,
    NodeTarget,
    VcpuTarget,
)

from ..support.guests import after, desired_states, states
from ..support.planning import plan_of


class Case(NamedTuple):
    """A guest, a desired state it can satisfy, whether that meant whole cores and was forced, and the plan for it."""

    state: GuestState
    desired: DesiredState
    whole_cores: bool
    plan: Plan
    force: bool = False

    @property
    def reached(self) -> GuestState:
        return after(self.plan, self.state)


@st.composite
def solved(draw: st.DrawFn, *kinds: str) -> Case:
    """Any guest and any desired state of these kinds that it can satisfy."""
    state = draw(states(unsafe=True))
    whole_cores, force = draw(st.booleans()), draw(st.booleans())
    for _attempt in range(10):
        desired = draw(desired_states(state.layout, kinds or ("vcpus", "nodes", "count")))
        try:
            plan = plan_of(desired, state, whole_cores=whole_cores, force=force)
            return Case(state, desired, whole_cores, plan, force)
        except HotplugError:
            continue
    assume(False)
    raise AssertionError


def refusal(state: GuestState, desired: DesiredState, whole_cores: bool = False) -> str | None:
    """The code of the error that the desired state is on this guest, or None."""
    try:
        plan_of(desired, state, whole_cores=whole_cores)
    except HotplugError as error:
        return error.code
    return None


def enabled(state: GuestState) -> dict[str, frozenset[int]]:
    found = {LIVE: state.live, CONFIG: state.config}
    return {scope: scope_state.enabled for scope, scope_state in found.items() if scope_state is not None}


def touched(plan: Plan) -> set[int]:
    return {vcpu for step in plan.steps for vcpu in step.entity.vcpus}


def core_of(state: GuestState, vcpu: int) -> set[int]:
    by_vcpu = state.layout.by_vcpu
    return {other for other in by_vcpu if by_vcpu[other].core == by_vcpu[vcpu].core}


@given(solved())
def test_applying_the_plan_reaches_the_desired_state(case: Case) -> None:
    desired = case.desired
    for ids in enabled(case.reached).values():
        if isinstance(desired, CountTarget):
            assert len(ids) == desired.count
        elif isinstance(desired, NodeTarget):
            for node, wanted in desired.nodes.items():
                members = {vcpu for entity in case.state.layout.nodes[node] for vcpu in entity.vcpus}
                assert len(ids & members) == {ENABLED: len(members), DISABLED: 0}.get(wanted, wanted)
        else:
            assert desired.enable <= ids
            assert not desired.disable & ids
            if desired.exclusive and not case.whole_cores:
                assert ids == desired.enable


@given(solved())
def test_a_second_plan_is_empty(case: Case) -> None:
    assert plan_of(case.desired, case.reached, whole_cores=case.whole_cores, force=case.force).steps == ()


@given(solved())
def test_a_plan_contains_the_state_that_it_reaches(case: Case) -> None:
    assert enabled(case.reached) == dict(case.plan.reached)


@given(solved("count"))
def test_a_count_makes_live_and_config_agree(case: Case) -> None:
    assert len(set(enabled(case.reached).values())) == 1


@given(solved("nodes"))
def test_no_step_is_outside_of_the_requested_nodes(case: Case) -> None:
    assert isinstance(case.desired, NodeTarget)
    nodes = case.state.layout.nodes
    allowed = {vcpu for node in case.desired.nodes for entity in nodes[node] for vcpu in entity.vcpus}
    assert touched(case.plan) <= allowed


@given(solved("vcpus"))
def test_no_step_changes_a_vcpu_that_was_not_named(case: Case) -> None:
    assert isinstance(case.desired, VcpuTarget)
    named = case.desired.enable | case.desired.disable
    if case.whole_cores:
        named = frozenset(sibling for vcpu in named for sibling in core_of(case.state, vcpu))
    assert case.desired.exclusive or touched(case.plan) <= named


@given(solved())
def test_no_step_changes_a_vcpu_that_cannot_be_changed(case: Case) -> None:
    held = set() if case.state.live is None else set(case.state.live.cannot_disable)
    assert not held & {step.entity.index for step in case.plan.steps if step.kind == UNPLUG}


@given(solved())
def test_no_step_plugs_a_vcpu_that_may_end_the_guest_unless_forced(case: Case) -> None:
    unsafe = set() if case.state.live is None else set(case.state.live.unsafe_plugs)
    plugged = {step.entity.index for step in case.plan.steps if step.kind == PLUG}
    assert case.force or not unsafe & plugged


@given(states(scopes=("live",), ejecting=False, unsafe=True), st.integers(1, 200), st.booleans())
def test_a_count_keeps_vcpus_that_could_not_be_plugged_again_and_risks_the_guest_last(
    state: GuestState, count: int, force: bool
) -> None:
    try:
        plan = plan_of(CountTarget(count), state, force=force)
    except HotplugError:
        assume(False)
    assert state.live is not None
    plugged, unplugged = ({step.entity.index for step in plan.steps if step.kind == kind} for kind in (PLUG, UNPLUG))
    safe = {entity.index for entity in state.layout.entities} - state.live.unsafe_plugs.keys()
    if unplugged - safe:
        kept = {index for index in safe if plan.reached[LIVE].issuperset(state.layout.entities[index].vcpus)}
        assert kept <= state.live.cannot_disable.keys()
    if plugged - safe:
        assert plan.reached[LIVE].issuperset(vcpu for index in safe for vcpu in state.layout.entities[index].vcpus)


@given(solved())
def test_every_step_changes_a_whole_entity_once(case: Case) -> None:
    moved = [(step.target, step.entity.index) for step in case.plan.steps]
    assert len(moved) == len(set(moved))


@given(st.data(), st.booleans())
def test_an_impossible_request_is_refused_with_its_code(data: st.DataObject, whole_cores: bool) -> None:
    state = data.draw(states())
    desired = data.draw(desired_states(state.layout))
    assert (
        refusal(state, desired, whole_cores)
        in {
            CountTarget: {None, COUNT_UNREACHABLE, UNPLUG_PENDING},
            NodeTarget: {None, UNKNOWN_NODE, COUNT_UNREACHABLE, NOT_HOTPLUGGABLE, UNPLUG_PENDING},
            VcpuTarget: {None, UNKNOWN_VCPU, PARTIAL_ENTITY, NOT_HOTPLUGGABLE, CONFLICTING_REQUEST, UNPLUG_PENDING},
        }[type(desired)]
    )


@given(states(ejecting=False), st.integers(1, 200), st.booleans())
def test_a_count_is_refused_only_if_no_set_of_vcpus_has_it(state: GuestState, count: int, spread: bool) -> None:
    size = state.layout.entity_size
    pinned = 0 if state.live is None else len(state.live.cannot_disable)
    reachable = count % size == 0 and pinned * size <= count <= state.layout.max_vcpus
    assert refusal(state, CountTarget(count, spread)) == (None if reachable else COUNT_UNREACHABLE)


@given(states(ejecting=False), st.data())
def test_a_spread_count_is_as_even_as_the_pinned_vcpus_allow(state: GuestState, data: st.DataObject) -> None:
    pinned = set() if state.live is None else set(state.live.cannot_disable)
    count = state.layout.entity_size * data.draw(st.integers(len(pinned) or 1, len(state.layout.entities)))
    reached = next(iter(plan_of(CountTarget(count, spread=True), state).reached.values()))
    nodes = list(state.layout.nodes.values())
    have = [[entity for entity in entities if reached.issuperset(entity.vcpus)] for entities in nodes]
    for entities, there in zip(nodes, have):
        if len(there) < len(entities):
            crowded = [other for other in have if len(other) > len(there) + 1]
            assert all(entity.index in pinned for other in crowded for entity in other)


@given(states(scopes=("live",), ejecting=False), st.data())
def test_a_packed_count_changes_as_few_vcpus_as_possible(state: GuestState, data: st.DataObject) -> None:
    assert state.live is not None
    size = state.layout.entity_size
    count = size * data.draw(st.integers(len(state.live.cannot_disable), len(state.layout.entities)))
    assert len(plan_of(CountTarget(count), state).steps) * size == abs(count - len(state.live.enabled))
