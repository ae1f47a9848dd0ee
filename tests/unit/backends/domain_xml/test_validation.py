# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""States that the next boot would refuse, and the message of each error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import (
    LIBVIRT,
    RFC,
    Cell,
    Domain,
    by_default,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.nodes import nodes_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.transition import with_enabled
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.validation import check_config
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, Layout

CORES_OF_TWO = Layout(tuple(Entity(core, (2 * core, 2 * core + 1)) for core in range(2)))


def domain(*enabled: int, **says: Any) -> Domain:
    """A domain of four vCPUs that boots on the first of those enabled."""
    ids = frozenset(enabled)
    return Domain(**{"max_vcpus": 4, "enabled": ids, "hotpluggable": by_default(4, ids), "dialect": LIBVIRT, **says})


def problem(before: Domain, *enabled: int, layout: Layout | None = None) -> str:
    with pytest.raises(HotplugError) as caught:
        check_config(before, layout, frozenset(enabled))
    assert caught.value.code == CONFIG_INVALID
    return caught.value.msg


def test_a_guest_needs_a_vcpu() -> None:
    assert "no vCPU would be enabled" in problem(domain(0, 1))


def test_a_guest_boots_on_vcpu_0() -> None:
    assert "vCPU 0 would be disabled" in problem(domain(0, 1), 1)
    assert "vCPU 0 is hotpluggable" in problem(domain(0, hotpluggable=frozenset(range(4))), 0)


def test_vcpus_that_are_not_hotpluggable_are_the_first_ones() -> None:
    before = domain(0, 2, 3, hotpluggable=frozenset({1}), lines={"vcpus": 7})
    assert problem(before, 0, 2, 3) == (
        "line 7 of the domain XML: vCPU 2-3 is enabled and not hotpluggable, but QEMU boots with contiguous ids "
        "from 0 on: give it hotpluggable='yes', or enable those below it in the same way"
    )
    check_config(before, None, frozenset({0, 1, 2}))


def test_disabled_vcpus_are_hotpluggable() -> None:
    before = domain(0, hotpluggable=frozenset({2, 3}))
    assert "vCPU 1 is disabled and not hotpluggable" in problem(before, 0)
    check_config(before, None, frozenset({0, 1}))


def test_members_of_an_entity_are_enabled_together() -> None:
    assert "vCPU 2 would be enabled without the rest of 2-3" in problem(domain(0, 1), 0, 1, 2, layout=CORES_OF_TWO)
    check_config(domain(0, 1), CORES_OF_TWO, frozenset(range(4)))


def test_members_of_an_entity_have_equal_attributes() -> None:
    mixed = domain(0, 1, 2, 3, hotpluggable=frozenset({3}))
    assert "vCPU 2-3 can only be plugged together, but not all" in problem(mixed, 0, 1, 2, 3, layout=CORES_OF_TWO)
    ordered = domain(0, 1, order={0: 1, 1: 2})
    assert "vCPU 0-1 can only be plugged together, but differ in order" in problem(ordered, 0, 1, layout=CORES_OF_TWO)
    check_config(domain(0, 1, order={0: 1, 1: 1}), CORES_OF_TWO, frozenset({0, 1}))


def test_order_is_unique() -> None:
    assert "vCPUs 0 and 2 both have the order 1" in problem(domain(0, 2, order={0: 1, 2: 1}), 0, 2)
    assert "vCPUs 1 and 2 both have the order 3" in problem(domain(0, 2, order={0: 1, 2: 3, 1: 3}), 0, 2)


def test_order_is_at_most_the_maximum() -> None:
    assert "the order of vCPU 2 is 5, above the maximum 4" in problem(domain(0, 2, order={0: 1, 2: 5}), 0, 2)


def test_order_begins_with_vcpu_0_and_ascends_while_the_guest_boots() -> None:
    assert "the order of vCPU 0 is 2" in problem(domain(0, 2, order={0: 2, 2: 3}), 0, 2)
    assert "vCPUs 1 and 2 are not hotpluggable" in problem(domain(0, 1, 2, order={0: 1, 1: 3, 2: 2}), 0, 1, 2)


def test_all_that_are_enabled_have_an_order_or_none() -> None:
    assert "vCPU 2 is enabled without an order" in problem(domain(0, 2, order={0: 1}), 0, 2)


def test_the_product_of_the_topology_is_the_maximum() -> None:
    topology = {"sockets": 2, "dies": 1, "clusters": 1, "cores": 3, "threads": 1}
    assert problem(domain(0, topology=topology, lines={"topology": 9}), 0) == (
        "line 9 of the domain XML: <topology> makes 6 vCPUs (2 sockets x 1 dies x 1 clusters x 3 cores x 1 threads), "
        "but <vcpu> has 4: make them agree"
    )


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([Cell(0, frozenset({0, 4, 5}), 1)], "cell 0 has vCPU 4-5, but the highest possible id is 3"),
        ([Cell(0, frozenset({0, 1}), 1), Cell(1, frozenset({1, 2}), 1)], "vCPU 1 is in cell 1 and in 0"),
        ([Cell(0, None, 1), Cell(2, None, 1)], "<numa> has no cell 1"),
    ],
)
def test_cells_have_only_existing_vcpus_and_each_once(cells: list[Cell], words: str) -> None:
    assert words in problem(domain(0, cells=tuple(cells)), 0)


def test_new_vcpus_are_not_put_on_a_node_without_memory_unless_forced() -> None:
    before = domain(0, 2, cells=(Cell(0, frozenset({0, 1}), 1), Cell(1, frozenset({2, 3}), 0)))
    assert "vCPU 3 would be enabled on node 1, which has no memory" in problem(before, 0, 2, 3)
    check_config(before, None, frozenset({0, 2, 3}), forced=True)
    check_config(before, None, frozenset({0, 1, 2}))


def test_vcpus_in_no_cell_are_on_the_first_node() -> None:
    assert nodes_of(domain(0, cells=(Cell(0, frozenset({1}), 1), Cell(1, frozenset({2}), 1)))) == {
        0: 0,
        1: 0,
        2: 1,
        3: 0,
    }
    assert nodes_of(domain(0, cells=(Cell(0, None, 1), Cell(1, None, 1)))) == {}


@given(st.data())
def test_a_valid_domain_stays_valid_with_any_enabled_entities(data: st.DataObject) -> None:
    size, cores = data.draw(st.sampled_from([1, 2, 4])), data.draw(st.integers(1, 4))
    entities = [tuple(range(core * size, (core + 1) * size)) for core in range(cores)]
    layout = Layout(tuple(Entity(index, vcpus) for index, vcpus in enumerate(entities)))
    chosen = st.sets(st.sampled_from(entities)).map(lambda some: frozenset().union(entities[0], *some))
    enabled = data.draw(chosen)
    dialect = data.draw(st.sampled_from([None, RFC, LIBVIRT]))
    if dialect is None:
        enabled = frozenset(range(len(enabled)))
    order = {}
    if dialect == LIBVIRT and data.draw(st.booleans()):
        order = {vcpu: 1 + vcpu // size for vcpu in enabled}
    sound = Domain(cores * size, enabled, hotpluggable=by_default(cores * size, enabled), dialect=dialect, order=order)
    for _turn in range(3):
        wanted, freed = data.draw(chosen), data.draw(chosen)
        check_config(sound, layout, wanted, hotpluggable=freed)
        sound = with_enabled(sound, wanted, layout, freed)
