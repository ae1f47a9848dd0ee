# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a guest fits the destination of a migration."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, GuestFacts, Layout
from ansible_collections.kvm.hotplug.plugins.module_utils.run.destination import End, end_of, misfits

from ..support.guests import guest, layout, layouts

FACTS = GuestFacts("web1", "u", "running", "x86_64", "pc-q35-10.0")
MACHINE = layout(sockets=4, cores=2, nodes=2)
SOURCE = End(FACTS, MACHINE, frozenset({0, 4, 7}), running=True)
WAITING = SOURCE._replace(running=False)


def facts(**changed: str) -> GuestFacts:
    return FACTS._replace(**changed)


def with_node(machine: Layout, index: int, node: int) -> Layout:
    entities = tuple(replace(one, node=node) if one.index == index else one for one in machine.entities)
    return Layout(entities)


@pytest.mark.parametrize(
    ("destination", "said"),
    [
        (WAITING, []),
        (WAITING._replace(enabled=frozenset({0, 4})), ["vCPU 7 is enabled, and disabled at the destination"]),
        (WAITING._replace(enabled=frozenset({0, 4, 5, 7})), ["vCPU 5 is disabled, and enabled at the destination"]),
        (WAITING._replace(layout=layout(sockets=5, cores=2, nodes=2)), ["maximum is 8 vCPUs", "another NUMA node"]),
        (WAITING._replace(layout=layout(sockets=2, cores=4, nodes=2)), ["vCPU 2-7 at another position"]),
        (WAITING._replace(layout=with_node(MACHINE, 3, 1)), ["vCPU 3 on another NUMA node"]),
        (WAITING._replace(facts=facts(machine="pc-q35-9.2")), ["machine type is pc-q35-10.0, that of the destination"]),
        (WAITING._replace(facts=facts(machine="q35")), []),
        (WAITING._replace(facts=facts(machine="pc")), ["machine type is pc-q35-10.0, that of the destination is pc"]),
        (WAITING._replace(facts=facts(arch="ppc64")), ["the architecture is x86_64"]),
        (SOURCE, ["the destination runs a guest already"]),
    ],
)
def test_each_difference_is_a_reason(destination: End, said: list[str]) -> None:
    reasons = misfits(SOURCE, destination)
    assert len(reasons) == len(said)
    for reason, part in zip(reasons, said):
        assert part in reason


@given(layouts(), st.data())
def test_a_destination_fits_if_and_only_if_the_same_vcpus_are_enabled(machine: Layout, data: st.DataObject) -> None:
    ids = st.frozensets(st.sampled_from(sorted(machine.by_vcpu)), min_size=1)
    here, there = data.draw(ids), data.draw(ids)
    source, destination = End(FACTS, machine, here, True), End(facts(state="paused"), machine, there, False)
    reasons = misfits(source, destination)
    assert (reasons == ()) is (here == there)
    assert len(reasons) == bool(here - there) + bool(there - here)


@given(layouts(), layouts())
def test_machines_of_different_topologies_never_fit(one: Layout, other: Layout) -> None:
    same = [(entity.vcpus, entity.node, _place(entity)) for entity in one.entities] == [
        (entity.vcpus, entity.node, _place(entity)) for entity in other.entities
    ]
    zero = frozenset({0})
    assert (misfits(End(FACTS, one, zero, True), End(FACTS, other, zero, False)) == ()) is same


def _place(entity: Entity) -> dict[str, int]:
    return {level: number for level, number in entity.position.items() if number}


def test_a_level_that_only_one_qemu_names_is_no_difference() -> None:
    entities = tuple(replace(one, position={**one.position, "die": 0, "module": 0}) for one in MACHINE.entities)
    assert misfits(SOURCE, WAITING._replace(layout=Layout(entities))) == ()


def test_the_live_state_is_compared_and_without_one_the_next_boot() -> None:
    running = end_of(guest(MACHINE, {0, 1}, {0, 2}))
    assert running is not None
    assert (running.enabled, running.running) == ({0, 1}, True)
    shut_off = end_of(guest(MACHINE, None, {0, 2}))
    assert shut_off is not None
    assert (shut_off.enabled, shut_off.running) == ({0, 2}, False)
    assert end_of(guest(MACHINE)) is None
