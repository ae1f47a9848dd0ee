# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The calls that change a persistent definition, executed on a simulated libvirt."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Cell, Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.config_calls import (
    Call,
    calls_for,
    calls_for_maximum,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import parse_cpulist


def domain(enabled: set[int], fixed: set[int]) -> Domain:
    return Domain(max_vcpus=8, enabled=frozenset(enabled), hotpluggable=frozenset(range(8)) - fixed)


def after(found: Domain, call: Call) -> Domain:
    """What libvirt 9.0 to 11.3 make of a definition: qemuDomainSetVcpuConfig and qemuDomainSetVcpusConfig."""
    enabled, hotpluggable = set(found.enabled), set(found.hotpluggable)
    if call.method == "setVcpu":
        ids, state, _flags = call.arguments
        named = parse_cpulist(str(ids))
        hotpluggable |= named
        enabled = enabled | named if state else enabled - named
        assert not enabled - hotpluggable or max(enabled - hotpluggable) < min(named - enabled, default=8)
    else:
        count = call.arguments[0]
        assert isinstance(count, int)
        assert count >= 1
        while len(enabled) > count:
            hotpluggable.add(max(enabled))
            enabled.remove(max(enabled))
        while len(enabled) < count:
            lowest = min(set(range(8)) - enabled)
            enabled.add(lowest)
            hotpluggable.remove(lowest)
    return found._replace(enabled=frozenset(enabled), hotpluggable=frozenset(hotpluggable))


@pytest.mark.parametrize(
    ("enabled", "fixed", "wanted", "calls"),
    [
        ({0, 1}, {0, 1}, {0, 1, 4}, [("4", 1)]),
        ({0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2}, [("3", 0)]),
        ({0, 1, 2, 3}, {0, 1, 2, 3}, {0, 2, 3, 6}, [("2-3,6", 1), ("1", 0)]),
        ({0, 1, 2, 3}, {0}, {0, 2, 3}, [("1", 0)]),
        ({0, 1}, {0, 1}, {0, 1}, []),
    ],
)
def test_vcpus_are_enabled_and_disabled_by_id(
    enabled: set[int], fixed: set[int], wanted: set[int], calls: list[tuple[str, int]]
) -> None:
    expected = tuple(Call("setVcpu", (*arguments, 2)) for arguments in calls)
    assert calls_for(domain(enabled, fixed), frozenset(wanted), hotplug=True) == expected


@pytest.mark.parametrize(
    ("wanted", "freed", "calls"),
    [
        ({0, 1, 2, 3}, {1, 2, 3}, [("1-3", 1)]),
        ({0, 1, 2}, {1, 2}, [("1-2", 1), ("3", 0)]),
        ({0, 1, 2, 3, 5}, {1, 2, 3}, [("1-3,5", 1)]),
        ({0, 1, 2, 3}, set(), []),
    ],
)
def test_vcpus_that_become_hotpluggable_are_enabled_once_more(
    wanted: set[int], freed: set[int], calls: list[tuple[str, int]]
) -> None:
    found = domain({0, 1, 2, 3}, {0, 1, 2, 3})
    made = calls_for(found, frozenset(wanted), hotplug=True, hotpluggable=frozenset(freed))
    assert made == tuple(Call("setVcpu", (*arguments, 2)) for arguments in calls)
    for call in made:
        found = after(found, call)
    assert found.enabled == wanted
    assert found.hotpluggable >= freed
    assert calls_for(found, frozenset(wanted), hotplug=True, hotpluggable=frozenset(freed)) == ()


@pytest.mark.parametrize(
    ("enabled", "fixed", "count", "counts"),
    [
        ({0, 1}, {0, 1}, 2, []),
        ({0, 1}, {0, 1}, 4, [4]),
        ({0, 1, 2, 3}, {0, 1, 2, 3}, 2, [2]),
        ({0, 1}, {0}, 2, [1, 2]),
        ({0, 1}, {0}, 3, [1, 3]),
        ({0, 1}, {0}, 1, [1]),
        ({0, 2}, {0}, 2, [1, 2]),
    ],
)
def test_without_hotplug_only_the_count_is_set(
    enabled: set[int], fixed: set[int], count: int, counts: list[int]
) -> None:
    calls = calls_for(domain(enabled, fixed), frozenset(range(count)), hotplug=False)
    assert calls == tuple(Call("setVcpusFlags", (number, 2)) for number in counts)


@given(st.sets(st.integers(1, 7)), st.sets(st.integers(1, 7)), st.integers(1, 8))
def test_without_hotplug_no_enabled_vcpu_stays_hotpluggable_in_libvirt(
    others: set[int], hotpluggable: set[int], count: int
) -> None:
    enabled = {0, *others}
    found = domain(enabled, enabled - hotpluggable)
    for call in calls_for(found, frozenset(range(count)), hotplug=False):
        found = after(found, call)
    assert found.enabled == frozenset(range(count))
    assert not found.enabled & found.hotpluggable


@given(st.sets(st.integers(1, 7)), st.integers(1, 8), st.sets(st.integers(1, 7)))
def test_with_hotplug_any_set_is_reached(others: set[int], booted: int, wanted: set[int]) -> None:
    fixed = set(range(booted))
    found = domain({*fixed, *others}, fixed)
    for call in calls_for(found, frozenset({0, *wanted}), hotplug=True):
        found = after(found, call)
    assert found.enabled == frozenset({0, *wanted})


def test_the_maximum_is_raised_before_and_lowered_after_all_other_changes() -> None:
    before, more = domain({0, 1}, {0, 1}), domain({0, 1}, {0, 1})._replace(max_vcpus=12)
    raised = calls_for_maximum(before, more, frozenset({0, 1, 9}), hotplug=True)
    assert raised == (Call("setVcpusFlags", (12, 6)), Call("setVcpu", ("9", 1, 2)))
    lowered = calls_for_maximum(more._replace(enabled=frozenset({0, 9})), before, frozenset({0}), hotplug=True)
    assert lowered == (Call("setVcpu", ("9", 0, 2)), Call("setVcpusFlags", (8, 6)))


@pytest.mark.parametrize("machine", [{"topology": {"sockets": 8}}, {"cells": (Cell(0, None, 1),)}])
def test_libvirt_has_no_call_for_a_maximum_with_a_topology_or_cells(machine: dict[str, Any]) -> None:
    before = domain({0}, {0})._replace(**machine)
    assert calls_for_maximum(before, before._replace(max_vcpus=12), frozenset({0}), hotplug=True) is None
