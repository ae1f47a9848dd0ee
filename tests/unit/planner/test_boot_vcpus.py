# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""boot_vcpus: which enabled vCPUs become hotpluggable at the next boot, and which guests cannot support it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import NOT_HOTPLUGGABLE, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Blocker, GuestState
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan, make_plan
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.prediction import predict
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import (
    CountTarget,
    DesiredState,
    VcpuTarget,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request

from ..support.guests import guest, layout

FOUR = layout(sockets=1, cores=4)
CORES = layout(sockets=1, cores=3, threads=2, whole_core_entities=True)


def fixed(state: GuestState, *ids: int) -> GuestState:
    """The guest, with these of its vCPUs not hotpluggable in config."""
    assert state.config is not None
    hotpluggable = frozenset(state.layout.by_vcpu) - frozenset(ids)
    return state._replace(config=state.config._replace(hotpluggable=hotpluggable))


def plan(state: GuestState, desired: DesiredState | None = None, **options: Any) -> Plan:
    how = {"guest_online": "ignore", "drain": False, **options}
    return make_plan(Request(desired, hotpluggable_boot_vcpus=True, **how), state)


def steps(found: Plan) -> list[str]:
    """The steps in short, those that only make hotpluggable with a mark."""
    return [
        f"{step.kind.name} {step.entity.vcpus[0]}{' hotpluggable' if step.makes_hotpluggable else ''}"
        for step in found.steps
    ]


def refusal(state: GuestState, **options: Any) -> HotplugError:
    with pytest.raises(HotplugError) as caught:
        plan(state, **options)
    return caught.value


def test_alone_it_makes_all_enabled_vcpus_hotpluggable_but_vcpu_0() -> None:
    state = fixed(guest(FOUR, config={0, 1, 2}), 0, 1)
    found = plan(state)
    assert steps(found) == ["enable 1 hotpluggable"]
    assert found.reached == {"config": frozenset({0, 1, 2})}
    predicted = predict(state, found)
    assert predicted.config is not None
    assert predicted.config.hotpluggable == {1, 2, 3}
    assert plan(predicted).changes is False


def test_alone_it_does_not_change_a_running_guest() -> None:
    state = fixed(guest(FOUR, live={0, 3}, config={0, 1}, ejecting=(3,)), 0, 1)
    assert steps(plan(state)) == ["enable 1 hotpluggable"]


def test_with_a_desired_state_only_vcpus_that_stay_enabled_become_hotpluggable() -> None:
    state = fixed(guest(FOUR, config={0, 1, 2}), 0, 1, 2)
    desired = VcpuTarget(frozenset({3}), frozenset({2}))
    assert steps(plan(state, desired)) == ["enable 1 hotpluggable", "enable 3", "disable 2"]
    assert steps(plan(state, CountTarget(3))) == ["enable 1 hotpluggable", "enable 2 hotpluggable"]


def test_the_core_of_vcpu_0_is_not_changed() -> None:
    state = fixed(guest(CORES, config={0, 1, 2, 3}), 0, 1, 2, 3)
    assert steps(plan(state)) == ["enable 2 hotpluggable"]


@given(st.sets(st.integers(1, 3)), st.sets(st.integers(1, 3)), st.sets(st.integers(1, 3)))
def test_a_second_plan_is_empty(config: set[int], boot: set[int], wanted: set[int]) -> None:
    state = fixed(guest(FOUR, config={0, *config}), 0, *(boot & config))
    desired = VcpuTarget(frozenset({0, *wanted}), frozenset(), exclusive=True)
    after = predict(state, plan(state, desired))
    assert after.config is not None
    assert after.config.hotpluggable >= after.config.enabled - {0}
    assert plan(after, desired).changes is False


@pytest.mark.parametrize(
    ("state", "options"),
    [
        (guest(FOUR, live={0, 1}), {}),
        (guest(FOUR, live={0, 1}, config={0, 1}), {"scope": "current"}),
    ],
    ids=["no config", "current"],
)
def test_a_task_that_changes_no_config_is_refused(state: GuestState, options: dict[str, str]) -> None:
    found = refusal(state, **options)
    assert found.code == "conflicting_request"
    assert "boot_vcpus changes the config state" in found.msg


def test_a_machine_without_hotplug_is_refused() -> None:
    state = guest(FOUR._replace(hotplug=False), config={0, 1})
    assert refusal(state).code == "hotplug_unsupported"


def test_the_reason_of_an_unsuitable_config_is_named() -> None:
    state = fixed(guest(FOUR, config={0, 1}), 0, 1)
    assert state.config is not None
    blocker = Blocker(NOT_HOTPLUGGABLE, "it is set in stone", "leave it")
    state = state._replace(config=state.config._replace(boot_vcpus_fixed=blocker))
    found = refusal(state)
    assert (found.code, found.msg) == (
        "not_hotpluggable",
        "boot_vcpus is hotpluggable, but it is set in stone: leave it",
    )


@pytest.mark.parametrize("desired", [VcpuTarget(frozenset(), frozenset({1})), CountTarget(1)], ids=["id", "count"])
def test_a_change_that_only_the_running_guest_prevents_names_scope_config(desired: DesiredState) -> None:
    state = fixed(guest(FOUR, live={0, 1, 2}, config={0, 1, 2}), 0, 1, 2)
    assert state.live is not None
    blocker = Blocker(NOT_HOTPLUGGABLE, "it is a boot vCPU", "leave it")
    state = state._replace(live=state.live._replace(cannot_disable=dict.fromkeys(range(3), blocker)))
    found = refusal(state, desired=desired)
    assert "this task has changed nothing" in found.msg
    assert "with scope config it sets boot_vcpus" in found.msg
    assert plan(state, desired, scope="config").changes
    with pytest.raises(HotplugError) as without_boot_vcpus:
        make_plan(Request(desired), state)
    assert "scope config it sets" not in without_boot_vcpus.value.msg


def test_a_change_that_no_state_of_the_guest_allows_does_not_name_scope_config() -> None:
    state = fixed(guest(FOUR, live={0, 1}, config={0, 1}), 0, 1)
    assert "scope config" not in refusal(state, desired=CountTarget(5)).msg
