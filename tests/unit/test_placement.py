# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Placements compared, and where a state's vCPUs are not placed."""

from __future__ import annotations

from ansible_collections.kvm.hotplug.plugins.module_utils.model import ConfigState, GuestFacts, GuestState, LiveState
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import (
    UNLIMITED,
    Bandwidth,
    Placement,
    Tuning,
    differences,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import remote_memory

from .support.guests import layout

FOUND = Placement("0-1", "other", UNLIMITED)


def state(requested: dict[int, Placement], found: dict[int, Placement], recorded: bool = False) -> GuestState:
    """A guest with vCPUs 0 and 1 of four; with a record, libvirt has the tuning, and the config has none."""
    tuning = Tuning(requested)
    live = LiveState(frozenset({0, 1}), placements=found, tuning=tuning if recorded else None)
    config = ConfigState(frozenset({0, 1}), tuning=Tuning() if recorded else tuning)
    return GuestState(GuestFacts(), layout(), live, config)


def test_each_part_that_differs_has_a_text() -> None:
    wanted = Placement("1", "fifo:1", Bandwidth(50000, 100000))
    assert differences(wanted, FOUND) == (
        "its pin is 0-1, not 1",
        "its scheduler is other, not fifo:1",
        "its bandwidth is unlimited, not 50000 in 100000 us",
    )
    assert differences(wanted, wanted) == ()


def test_parts_that_are_not_requested_or_unknown_are_equal() -> None:
    assert differences(Placement(), FOUND) == differences(FOUND, Placement()) == ()


def test_only_enabled_vcpus_are_misplaced() -> None:
    requested = dict.fromkeys(range(4), Placement("1"))
    found = {0: FOUND, 1: Placement("1"), 2: FOUND}
    assert state(requested, found).misplaced == {0: ("its pin is 0-1, not 1",)}
    assert state(requested, found, recorded=True).misplaced == {0: ("its pin is 0-1, not 1",)}


def test_without_any_thread_it_is_unknown_whether_vcpus_are_misplaced() -> None:
    assert state({0: Placement("1")}, {}).misplaced is None
    assert state({3: Placement("1")}, {}).misplaced == {}
    assert state({}, {})._replace(config=None).misplaced is None


def test_a_vcpu_far_from_the_memory_of_its_node_is_named() -> None:
    machine = layout(sockets=2, cores=1, nodes=2)
    live = LiveState(frozenset({0, 1}), host_nodes={0: frozenset({0}), 1: frozenset({0, 1})})

    def warning(memory: dict[int | None, frozenset[int]]) -> str:
        config = ConfigState(frozenset({0, 1}), tuning=Tuning(memory_nodes=memory))
        return remote_memory(GuestState(GuestFacts(), machine, live, config))

    assert warning({}) == warning({None: frozenset({0})}) == warning({0: frozenset({0}), 1: frozenset({1})}) == ""
    assert warning({0: frozenset({1})}).startswith("vCPU 0 may not run on any host node that has the memory")
    assert warning({None: frozenset({2})}).startswith("vCPU 0-1 ")
