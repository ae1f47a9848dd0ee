# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps that place threads: for every requested placement, of a config or of libvirt's record, and every state."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.tuning import tuning_of
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    LIVE,
    PLACE,
    PLUG,
    ConfigState,
    Entity,
    GuestFacts,
    GuestState,
    Layout,
    LiveState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import (
    UNLIMITED,
    Bandwidth,
    Placement,
    Tuning,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.placement import (
    is_repairable,
    placement_warnings,
    unverifiable,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.prediction import predict
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import ELSEWHERE
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import CountTarget, VcpuTarget

from ..support.guests import layout
from ..support.planning import plan_of

VCPUS = 6
ids = st.integers(0, VCPUS - 1)
cpulists = st.sets(st.integers(0, 7), min_size=1, max_size=4).map(format_cpulist)
schedulers = st.sampled_from(["batch", "idle", "fifo:1", "rr:99"])
found_placements = st.builds(
    Placement, cpulists, st.just("other") | schedulers, st.sampled_from([UNLIMITED, Bandwidth(50000, 100000)])
)


@st.composite
def cputunes(draw: st.DrawFn) -> tuple[str, Tuning]:
    """Any <cputune> and cpuset, as XML, and what they request."""
    pins = draw(st.dictionaries(ids, cpulists))
    policies = draw(st.dictionaries(ids, schedulers))
    default = draw(st.none() | cpulists)
    limit = draw(st.none() | st.just(UNLIMITED) | st.builds(Bandwidth, st.just(50000), st.integers(1000, 1000000)))
    elements = [f"<vcpupin vcpu='{vcpu}' cpuset='{pin}'/>" for vcpu, pin in pins.items()]
    for vcpu, scheduler in policies.items():
        name, _colon, priority = scheduler.partition(":")
        more = f" priority='{priority}'" if priority else ""
        elements.append(f"<vcpusched vcpus='{vcpu}' scheduler='{name}'{more}/>")
    if limit is not None:
        elements.append(f"<quota>{limit.quota}</quota><period>{limit.period}</period>")
    cpuset = f" cpuset='{default}'" if default else ""
    cputune = "".join(draw(st.permutations(elements)))
    xml = f"<domain type='kvm'><vcpu{cpuset}>{VCPUS}</vcpu><cputune>{cputune}</cputune></domain>"
    asked = {vcpu: Placement(pins.get(vcpu, default), policies.get(vcpu), limit) for vcpu in range(VCPUS)}
    return xml, Tuning({vcpu: placement for vcpu, placement in asked.items() if placement != Placement()})


@given(cputunes())
def test_any_cputune_is_read_as_it_is_written(written: tuple[str, Tuning]) -> None:
    xml, tuning = written
    assert tuning_of(read_domain(xml.encode())) == tuning


@st.composite
def guests(draw: st.DrawFn) -> GuestState:
    """Any guest of six vCPUs, with any requested and any observed placement."""
    _xml, tuning = draw(cputunes())
    enabled = frozenset({0, *draw(st.sets(ids))})
    recorded = draw(st.booleans())
    live = LiveState(
        enabled,
        tuning=tuning if recorded else None,
        placements={vcpu: draw(found_placements) for vcpu in enabled},
    )
    config = ConfigState(enabled, tuning=Tuning() if recorded else tuning)
    return GuestState(GuestFacts(state="running"), layout(sockets=6, cores=1), live, config)


@given(guests(), st.sets(ids))
def test_the_plan_places_what_is_plugged_or_misplaced_and_then_nothing(state: GuestState, more: set[int]) -> None:
    assert state.live is not None
    assert state.tuning is not None
    wanted = VcpuTarget(frozenset({0, *more}), frozenset(), exclusive=True)
    plan = plan_of(wanted, state)
    placed = {vcpu for step in plan.steps if step.kind == PLACE for vcpu in step.vcpus}
    assert placed == {
        vcpu
        for vcpu, requested in state.tuning.placements.items()
        if vcpu in plan.reached[LIVE] and (vcpu not in state.live.enabled or is_repairable(state, vcpu))
    }
    plugged = {step.entity.index for step in plan.steps if step.kind == PLUG}
    ranks = [
        0 if step.kind == PLUG else 2 if step.kind != PLACE else 1 if step.entity.index in plugged else 3
        for step in plan.steps
    ]
    assert ranks == sorted(ranks), "plugs, the placements of these, all else, and the other placements"
    after = predict(state, plan)
    assert not any(is_repairable(after, vcpu) for vcpu in after.misplaced or {})
    assert plan_of(wanted, after).steps == ()


@given(guests(), st.sets(ids))
def test_nothing_is_placed_where_cputune_is_ignored(state: GuestState, more: set[int]) -> None:
    wanted = VcpuTarget(frozenset({0, *more}), frozenset(), exclusive=True)
    assert all(step.kind != PLACE for step in plan_of(wanted, state, cputune="ignore").steps)


@given(guests())
def test_verify_refuses_a_guest_with_misplaced_vcpus(state: GuestState) -> None:
    assert state.live is not None
    wanted = CountTarget(len(state.live.enabled))
    if state.misplaced:
        with pytest.raises(HotplugError, match=f"vCPU {min(state.misplaced)}: its ") as caught:
            plan_of(wanted, state, cputune="verify")
        assert caught.value.code == "placement_failed"
    else:
        assert plan_of(wanted, state, cputune="verify").steps == ()


def hidden(recorded: bool) -> GuestState:
    tuning = Tuning({1: Placement("1"), 2: Placement("1")})
    live = LiveState(frozenset({0, 1}), tuning=tuning if recorded else None, hidden=ELSEWHERE)
    return GuestState(GuestFacts(), layout(), live, ConfigState(frozenset({0, 1, 2}), tuning=tuning))


def test_threads_that_cannot_be_placed_are_refused_before_the_plug() -> None:
    with pytest.raises(HotplugError, match="vCPU 2 cannot be placed as <cputune> says: the process") as caught:
        plan_of(CountTarget(3), hidden(recorded=False))
    assert caught.value.code == "placement_failed"
    assert [step.kind for step in plan_of(CountTarget(3), hidden(recorded=True)).steps] == [PLUG]
    assert [step.kind for step in plan_of(CountTarget(3), hidden(recorded=False), cputune="ignore").steps] == [PLUG]


@pytest.mark.parametrize("recorded", [False, True])
def test_threads_that_cannot_be_verified_are_refused(recorded: bool) -> None:
    with pytest.raises(HotplugError, match="vCPU 1-2 cannot be verified to be as <cputune> says"):
        plan_of(CountTarget(3), hidden(recorded), cputune="verify")


def test_an_unknown_placement_of_enabled_vcpus_has_a_warning() -> None:
    assert unverifiable(hidden(recorded=False), "apply").startswith("it is unknown whether vCPU 1 is where <cputune>")
    assert unverifiable(hidden(recorded=True), "apply") == unverifiable(hidden(recorded=False), "ignore") == ""


def test_each_vcpu_of_a_plugged_or_drifted_core_is_placed_by_its_own_step() -> None:
    cores = Layout(tuple(Entity(index=core, vcpus=(2 * core, 2 * core + 1)) for core in range(3)))
    live = LiveState(frozenset({0, 1}), placements={0: Placement("0", "other"), 1: Placement("1", "other")})
    config = ConfigState(frozenset({0, 1}), tuning=Tuning({vcpu: Placement("1") for vcpu in (0, 1, 3, 4, 5)}))
    steps = plan_of(CountTarget(6), GuestState(GuestFacts(), cores, live, config)).steps
    placed = [step.vcpus for step in steps if step.kind == PLACE]
    assert placed == [(3,), (4,), (5,), (0,)]


def test_a_vcpu_that_the_guest_may_unplug_is_not_placed() -> None:
    live = LiveState(
        frozenset({0, 1}), ejecting=frozenset({1}), placements=dict.fromkeys((0, 1), Placement("0", "other"))
    )
    config = ConfigState(frozenset({0}), tuning=Tuning({1: Placement("1")}))
    state = GuestState(GuestFacts(), layout(), live, config)
    steps: list[Any] = [step.kind.name for step in plan_of(VcpuTarget(frozenset({0}), frozenset()), state).steps]
    assert steps == []


def drifted(requested: Placement, found: Placement, recorded: bool, cpus: frozenset[int] | None = None) -> GuestState:
    """A guest whose vCPU 1 has drifted, on a host with these CPUs."""
    tuning = Tuning({1: requested})
    live = LiveState(
        frozenset({0, 1}), tuning=tuning if recorded else None, placements={0: found, 1: found}, host_cpus=cpus
    )
    return GuestState(GuestFacts(), layout(), live, ConfigState(frozenset({0, 1}), tuning=tuning))


def test_host_cpus_that_are_not_online_are_no_drift_and_have_a_warning() -> None:
    state = drifted(Placement("0-3"), Placement("0-1", "other"), recorded=False, cpus=frozenset({0, 1}))
    assert plan_of(CountTarget(2), state).steps == ()
    assert placement_warnings(state, "apply") == [
        "<cputune> names host CPU 2-3, which is offline or does not exist: only others are used"
    ]
    nowhere = drifted(Placement("7"), Placement("0-1", "other"), recorded=False, cpus=frozenset({0, 1}))
    assert [step.kind for step in plan_of(CountTarget(2), nowhere).steps] == [PLACE]


def test_what_libvirt_cannot_repair_is_a_warning_and_no_step() -> None:
    state = drifted(Placement("1", "batch"), Placement("1", "other"), recorded=True)
    assert plan_of(CountTarget(2), state).steps == ()
    (warning,) = placement_warnings(state, "apply")
    assert "cannot place threads of a running guest again as <cputune> says: vCPU 1: its scheduler is other" in warning
    both = drifted(Placement("1", "batch"), Placement("0", "other"), recorded=True)
    assert [step.kind for step in plan_of(CountTarget(2), both).steps] == [PLACE]
