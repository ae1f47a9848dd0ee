# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Properties of every plan with steps of the guest OS, and of the guards."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    COUNT_UNREACHABLE,
    NOT_HOTPLUGGABLE,
    UNKNOWN_VCPU,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    GUEST,
    LIVE,
    OFFLINE,
    ONLINE,
    PLUG,
    UNPLUG,
    Blocker,
    GuestState,
    OnlineState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.guards import check_guards
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import CountTarget, VcpuTarget
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guards import Guards, parse_guards

from ..support.guests import desired_states, states
from ..support.planning import plan_of

ALONE = {"by_agent": True}
BESIDE = {"guest_online": "ensure", "drain": True}
STAYS = Blocker(NOT_HOTPLUGGABLE, "it stays", "leave it")
UNPLUGGED = Blocker(NOT_HOTPLUGGABLE, "it is not plugged", "plug it")


@st.composite
def with_online(draw: st.DrawFn) -> GuestState:
    """Any running guest, and what its own system runs on: vCPU 0 at least."""
    state = draw(states())
    assume(state.live is not None)
    assert state.live is not None
    plugged = sorted(state.live.enabled)
    online = frozenset({*draw(st.sets(st.sampled_from(plugged))), plugged[0]})
    unplugged = frozenset(range(state.layout.max_vcpus)) - state.live.enabled
    return state._replace(
        online=OnlineState(
            enabled=online,
            known=state.live.enabled,
            cannot_enable=dict.fromkeys(unplugged, UNPLUGGED),
            cannot_disable={plugged[0]: STAYS},
        ),
    )


def reached(plan: Plan, state: GuestState) -> GuestState:
    """The state after the plan of method agent."""
    assert state.online is not None
    online = set(state.online.enabled)
    for step in plan.steps:
        assert step.target == GUEST
        if step.kind == ONLINE:
            online.update(step.entity.vcpus)
        else:
            online.difference_update(step.entity.vcpus)
    return state._replace(online=state.online._replace(enabled=frozenset(online)))


@given(with_online(), st.data())
def test_method_agent_reaches_the_desired_state_within_the_plugged_vcpus(
    state: GuestState, data: st.DataObject
) -> None:
    desired = data.draw(desired_states(state.layout, ("vcpus", "count")))
    assert state.live is not None
    assert state.online is not None
    code = None
    try:
        plan = plan_of(desired, state, **ALONE)
    except HotplugError as error:
        code = error.code
    if code is not None:
        assert code in (NOT_HOTPLUGGABLE, COUNT_UNREACHABLE, UNKNOWN_VCPU)
        return
    after = reached(plan, state)
    assert after.online is not None
    assert after.online.enabled <= state.live.enabled
    if isinstance(desired, CountTarget):
        assert len(after.online.enabled) == desired.count
    elif isinstance(desired, VcpuTarget):
        assert desired.enable <= after.online.enabled
        assert not desired.disable & after.online.enabled
        untouched = frozenset(range(state.layout.max_vcpus)) - desired.enable - desired.disable
        if not desired.exclusive:
            assert after.online.enabled & untouched == state.online.enabled & untouched
    assert plan_of(desired, after, **ALONE).steps == ()
    assert all(len(step.entity.vcpus) == 1 for step in plan.steps)


@given(with_online(), st.data())
def test_an_agent_with_hotplug_changes_no_step_of_the_machine(state: GuestState, data: st.DataObject) -> None:
    desired = data.draw(desired_states(state.layout, ("vcpus", "nodes", "count")))
    try:
        without = plan_of(desired, state)
    except HotplugError:
        with pytest.raises(HotplugError):
            plan_of(desired, state, **BESIDE)
        return
    plan = plan_of(desired, state, **BESIDE)
    assert [step for step in plan.steps if step.target != GUEST] == list(without.steps)
    assert plan.reached == without.reached
    plugged = [step.entity for step in plan.steps if step.kind == PLUG]
    assert [step.entity for step in plan.steps if step.kind == ONLINE] == plugged
    for before, step in zip((None, *plan.steps), plan.steps):
        assert state.online is not None
        if step.kind == OFFLINE:
            assert state.online.enabled.intersection(step.entity.vcpus)
        if step.kind == UNPLUG and state.online.enabled.intersection(step.entity.vcpus) - {0}:
            assert before is not None
            assert (before.kind, before.entity) == (OFFLINE, step.entity) or 0 in step.entity.vcpus


@given(states(), st.data())
def test_guards_accept_exactly_the_plans_that_meet_them(state: GuestState, data: st.DataObject) -> None:
    desired = data.draw(desired_states(state.layout, ("vcpus", "nodes", "count")))
    try:
        plan = plan_of(desired, state)
    except HotplugError:
        return
    lost = max(
        (len(found.enabled - ids) for scope, ids in plan.reached.items() for found in [state.scope(scope)] if found),
        default=0,
    )
    check_guards(plan, state, Guards(max_disable=lost))
    if lost:
        with pytest.raises(HotplugError) as caught:
            check_guards(plan, state, Guards(max_disable=lost - 1))
        assert caught.value.code == CONFLICTING_REQUEST
    if state.live is not None:
        expected = parse_guards({"expected": {"live": format_cpulist(state.live.enabled)}})
        check_guards(plan, state, expected)
        other = Guards({LIVE: state.live.enabled ^ {0}})
        if plan.changes:
            with pytest.raises(HotplugError):
                check_guards(plan, state, other)
        else:
            check_guards(plan, state, other)
