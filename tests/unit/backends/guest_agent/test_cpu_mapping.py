# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mapping of vCPU ids to the guest's CPU numbers: by its sysfs, else by equality, else an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.commands import GuestCpu
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.cpu_mapping import match_cpus
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError

MOST = 16

ids = st.sets(st.integers(0, MOST - 1), min_size=1)


def cpus(*numbers: int, offline: int | None = None) -> tuple[GuestCpu, ...]:
    return tuple(GuestCpu(number, number != offline, number != 0) for number in sorted(numbers))


def error_of(enabled: set[int], listed: tuple[GuestCpu, ...], slots: dict[int, int] | None) -> HotplugError:
    with pytest.raises(HotplugError) as caught:
        match_cpus(enabled, listed, slots)
    assert caught.value.code == "agent_error"
    return caught.value


@st.composite
def guests(draw: st.DrawFn) -> tuple[set[int], tuple[GuestCpu, ...], dict[int, int]]:
    """A guest that tells everything: enabled vCPUs, some of which it sees, by numbers of its own."""
    enabled = draw(ids)
    seen = draw(st.lists(st.sampled_from(sorted(enabled)), unique=True, min_size=1))
    numbers = draw(st.lists(st.integers(0, 100), unique=True, min_size=len(seen), max_size=len(seen)))
    listed = tuple(GuestCpu(number, draw(st.booleans()), draw(st.booleans())) for number in sorted(numbers))
    return enabled, listed, dict(zip(numbers, seen))


@given(guests())
def test_the_mapping_in_sysfs_is_used_for_any_numbers(
    guest: tuple[set[int], tuple[GuestCpu, ...], dict[int, int]],
) -> None:
    enabled, listed, slots = guest
    found = match_cpus(enabled, listed, slots)
    assert set(found) == set(slots.values()) <= enabled
    assert all(slots[cpu.number] == vcpu and cpu in listed for vcpu, cpu in found.items())


@given(ids, ids)
def test_without_sysfs_only_sequences_without_a_gap_are_assumed_equal(enabled: set[int], numbers: set[int]) -> None:
    listed = cpus(*numbers)
    if enabled == numbers == set(range(len(enabled))):
        assert match_cpus(enabled, listed, None) == {cpu.number: cpu for cpu in listed}
    else:
        assert "guest-file-open" in error_of(enabled, listed, None).msg


@given(ids, ids, st.dictionaries(st.integers(-5, 20), st.integers(-5, 10**6), max_size=20))
def test_any_sysfs_maps_each_cpu_to_one_enabled_vcpu_or_is_an_error(
    enabled: set[int], numbers: set[int], slots: dict[int, int]
) -> None:
    found: dict[int, GuestCpu] = {}
    code = "agent_error"
    try:
        found = match_cpus(enabled, cpus(*numbers), slots)
    except HotplugError as error:
        code = error.code
    assert code == "agent_error"
    assert set(found) <= enabled
    used = [cpu.number for cpu in found.values()]
    assert len(set(used)) == len(used)
    assert set(used) <= numbers


def test_a_sparse_guest_without_sysfs_is_an_error_with_the_remedy() -> None:
    error = error_of({0, 1, 5}, cpus(0, 1, 2), None)
    assert "0-2" in error.msg
    assert "0-1,5" in error.msg
    for missing in ("guest-file-open", "guest-file-read", "guest-file-close", "block-rpcs", "allow-rpcs"):
        assert missing in error.msg


def test_a_vcpu_that_the_guest_has_not_detected_yet_is_left_out() -> None:
    assert set(match_cpus({0, 1, 5}, cpus(0, 1), {0: 0, 1: 1})) == {0, 1}


def test_possible_but_not_present_cpus_are_left_out() -> None:
    listed = tuple(GuestCpu(number, number < 2, True) for number in range(4))
    assert set(match_cpus({0, 12}, listed, {0: 0, 1: 12})) == {0, 12}


def test_an_offline_cpu_of_an_unplugged_vcpu_is_left_out() -> None:
    assert set(match_cpus({0}, cpus(0, 1, offline=1), {0: 0, 1: 5})) == {0}


@pytest.mark.parametrize(
    ("slots", "words"),
    [
        ({0: 0, 1: 0}, "both"),
        ({0: 0, 1: 16}, "not plugged"),
        ({0: 0, 1: -1}, "not plugged"),
        ({0: 0, 1: 5}, "not plugged"),
        ({0: 0}, "no vCPU id"),
    ],
)
def test_a_guest_that_contradicts_the_machine_is_not_trusted(slots: dict[int, int], words: str) -> None:
    assert words in error_of({0, 1}, cpus(0, 1), slots).msg
