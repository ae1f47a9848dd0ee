# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planner by example: the steps of a request, or its error."""

from __future__ import annotations

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import CONFIG, DISABLED, ENABLED, LIVE, GuestState
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import StillEjecting
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import (
    CountTarget,
    DesiredState,
    NodeTarget,
    VcpuTarget,
)

from ..support.guests import NO_HOTPLUG, guest, layout
from ..support.planning import plan_of

# Two nodes of four vCPUs, 0-3 and 4-7, one vCPU a core.
X86 = layout(sockets=4, cores=2, nodes=2)
# Four cores of eight threads, plugged a core at a time: 0-7, 8-15, 16-23, 24-31.
PSERIES = layout(sockets=1, cores=4, threads=8, whole_core_entities=True)
# Four cores of two threads, plugged a thread at a time: 0-1, 2-3, 4-5, 6-7.
THREADS = layout(sockets=2, cores=2, threads=2)


def steps(desired: DesiredState, state: GuestState, scope: str = "all", whole_cores: bool = False) -> list[str]:
    return [
        f"{step.kind.name} {step.target} {step.entity.vcpus[0]}"
        for step in plan_of(desired, state, scope=scope, whole_cores=whole_cores).steps
    ]


def refusal(desired: DesiredState, state: GuestState, scope: str = "all", whole_cores: bool = False) -> HotplugError:
    with pytest.raises(HotplugError) as caught:
        plan_of(desired, state, scope=scope, whole_cores=whole_cores)
    return caught.value


def enable(*ids: int) -> VcpuTarget:
    return VcpuTarget(frozenset(ids), frozenset())


def disable(*ids: int) -> VcpuTarget:
    return VcpuTarget(frozenset(), frozenset(ids))


def test_enabled_vcpus_are_not_plugged_again() -> None:
    assert steps(enable(0, 5), guest(X86, {0, 1})) == ["plug live 5"]


def test_plugs_come_first_and_the_highest_id_is_unplugged_first() -> None:
    desired = VcpuTarget(frozenset({4, 5}), frozenset({1, 2}))
    assert steps(desired, guest(X86, {0, 1, 2})) == ["plug live 4", "plug live 5", "unplug live 2", "unplug live 1"]


def test_exclusive_disables_all_others() -> None:
    assert steps(VcpuTarget(frozenset({0, 1}), frozenset(), True), guest(X86, {0, 1, 6})) == ["unplug live 6"]


def test_a_count_takes_the_lowest_disabled_ids() -> None:
    assert steps(CountTarget(4), guest(X86, {0, 6})) == ["plug live 1", "plug live 2"]


def test_a_lower_count_disables_the_highest_ids_that_can_be_disabled() -> None:
    assert steps(CountTarget(2), guest(X86, {0, 3, 5, 7}, pinned=(0, 7))) == ["unplug live 5", "unplug live 3"]


def test_a_lower_count_first_disables_vcpus_whose_unplug_is_in_progress() -> None:
    assert steps(CountTarget(3), guest(X86, {0, 1, 2, 3}, ejecting=(1,))) == ["unplug live 1"]


def test_a_count_makes_live_and_config_the_same_set_preferring_live() -> None:
    state = guest(X86, live={0, 1, 6}, config={0, 1, 2})
    assert steps(CountTarget(3), state) == ["enable config 6", "disable config 2"]


def test_unnamed_vcpus_of_both_scopes_stay_unchanged() -> None:
    assert steps(enable(5), guest(X86, live={0, 7}, config={0, 2})) == ["plug live 5", "enable config 5"]


def test_a_spread_count_evens_out_the_nodes() -> None:
    assert steps(CountTarget(4, spread=True), guest(X86, {0, 1})) == ["plug live 4", "plug live 5"]


def test_an_odd_spread_count_keeps_the_node_that_has_more() -> None:
    assert steps(CountTarget(3, spread=True), guest(X86, {0, 4, 5})) == []


def test_a_node_count_stays_on_its_node() -> None:
    assert steps(NodeTarget({1: 2}), guest(X86, {0, 1})) == ["plug live 4", "plug live 5"]


def test_a_node_can_be_emptied_by_state_or_by_count() -> None:
    state = guest(X86, {0, 4, 6})
    assert (
        steps(NodeTarget({1: DISABLED}), state)
        == steps(NodeTarget({1: 0}), state)
        == ["unplug live 6", "unplug live 4"]
    )


def test_a_node_can_be_filled() -> None:
    assert steps(NodeTarget({1: ENABLED}), guest(X86, {0, 4, 5, 6})) == ["plug live 7"]


def test_a_core_is_unplugged_as_a_whole_if_it_is_an_entity() -> None:
    assert steps(enable(*range(8, 16)), guest(PSERIES, set(range(8)))) == ["plug live 8"]


def test_a_part_of_an_entity_is_refused_naming_its_siblings() -> None:
    error = refusal(enable(9), guest(PSERIES, set(range(8))))
    assert (error.code, "8,10-15" in error.msg) == ("partial_entity", True)


def test_granularity_core_makes_a_vcpu_stand_for_its_core() -> None:
    assert steps(enable(9), guest(PSERIES, set(range(8))), whole_cores=True) == ["plug live 8"]
    assert steps(enable(3), guest(THREADS, {0, 1}), whole_cores=True) == ["plug live 2", "plug live 3"]


def test_granularity_core_completes_a_partly_enabled_core() -> None:
    assert steps(CountTarget(2), guest(THREADS, {0}), whole_cores=True) == ["plug live 1"]


def test_the_threads_of_one_core_cannot_be_requested_in_two_states() -> None:
    desired = VcpuTarget(frozenset({2}), frozenset({3}))
    assert refusal(desired, guest(THREADS, {0, 1}), whole_cores=True).code == "conflicting_request"


@pytest.mark.parametrize(
    ("desired", "code", "said"),
    [
        (enable(8), "unknown_vcpu", "8"),
        (NodeTarget({2: ENABLED}), "unknown_node", "0-1"),
        (CountTarget(9), "count_unreachable", "can have 8 vCPUs at most, not 9"),
        (NodeTarget({1: 5}), "count_unreachable", "node 1 can have 4 vCPUs at most, not 5"),
        (NodeTarget({0: 0}), "count_unreachable", "0 cannot be disabled"),
        (disable(0, 1), "not_hotpluggable", "vCPU 0"),
        (NodeTarget({0: DISABLED}), "not_hotpluggable", "vCPU 0"),
        (VcpuTarget(frozenset({4}), frozenset(), True), "not_hotpluggable", "vCPU 0"),
    ],
)
def test_an_impossible_request_has_a_code_and_names_the_ids(desired: DesiredState, code: str, said: str) -> None:
    error = refusal(desired, guest(X86, {0, 1}))
    assert (error.code, said in error.msg) == (code, True), error.msg


def test_a_count_between_two_cores_names_the_next_ones() -> None:
    error = refusal(CountTarget(12), guest(PSERIES, set(range(8))))
    assert (error.code, "8 or 16" in error.msg) == ("count_unreachable", True)


def test_a_machine_without_hotplug_satisfies_its_present_state() -> None:
    state = guest(X86, {0, 1})
    state = state._replace(live=state.live._replace(cannot_enable=dict.fromkeys(range(2, 8), NO_HOTPLUG)))
    assert steps(CountTarget(2), state) == []
    assert refusal(CountTarget(3), state).code == "hotplug_unsupported"


def test_vcpus_whose_unplug_is_in_progress_do_not_count_as_enabled() -> None:
    with pytest.raises(StillEjecting) as caught:
        plan_of(enable(5), guest(X86, {0, 5}, ejecting=(5,)))
    assert [entity.index for entity in caught.value.entities] == [5]


@pytest.mark.parametrize(
    ("scope", "live", "config", "targets"),
    [
        ("all", {0}, {0}, {LIVE, CONFIG}),
        ("all", {0}, None, {LIVE}),
        ("all", None, {0}, {CONFIG}),
        ("live", {0}, {0}, {LIVE}),
        ("config", {0}, {0}, {CONFIG}),
        ("current", {0}, {0}, {LIVE}),
        ("current", None, {0}, {CONFIG}),
    ],
)
def test_scopes(scope: str, live: set[int] | None, config: set[int] | None, targets: set[str]) -> None:
    plan = plan_of(enable(1), guest(X86, live, config), scope=scope)
    assert {step.target for step in plan.steps} == targets


def test_a_scope_that_the_guest_does_not_have_is_an_error() -> None:
    assert refusal(enable(1), guest(X86, None, {0}), "live").code == "guest_not_running"
    assert refusal(enable(1), guest(X86, {0}), "config").code == "conflicting_request"


def test_a_plug_that_may_end_the_guest_is_refused_unless_forced() -> None:
    state = guest(X86, {0}, unsafe=(1,))
    assert (refusal(enable(1), state).code, "set force" in refusal(enable(1), state).msg) == ("not_hotpluggable", True)
    assert [step.entity.index for step in plan_of(enable(1), state, force=True).steps] == [1]
    assert steps(disable(1), state) == []


def test_a_count_enables_safe_vcpus_and_names_unsafe_ones() -> None:
    state = guest(X86, {0}, unsafe=(1,))
    assert steps(CountTarget(3), state) == ["plug live 2", "plug live 3"]
    error = refusal(CountTarget(8), state)
    assert (error.code, "vCPU 1 cannot be enabled, because its plug may end the guest" in error.msg) == (
        "count_unreachable",
        True,
    )
    assert refusal(CountTarget(9), state).msg.endswith("or start the guest with a larger maximum")


def test_a_count_keeps_a_vcpu_that_could_not_be_plugged_again_even_if_config_has_another() -> None:
    state = guest(X86, {0, 1, 4}, {0, 4}, unsafe=(1,))
    assert steps(CountTarget(2), state) == ["unplug live 4", "enable config 1", "disable config 4"]


def test_a_spread_count_keeps_on_each_node_vcpus_that_could_not_be_plugged_again() -> None:
    state = guest(X86, {0, 1, 2, 4, 5, 6}, unsafe=(2, 6))
    assert steps(CountTarget(4, spread=True), state) == ["unplug live 5", "unplug live 1"]


def test_scope_config_ignores_plugs_that_may_end_the_running_guest() -> None:
    assert steps(enable(1), guest(X86, {0}, {0}, unsafe=(1,)), "config") == ["enable config 1"]
