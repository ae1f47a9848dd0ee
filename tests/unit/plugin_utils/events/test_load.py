# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The load of a guest by the CPU times of its vCPUs."""

from __future__ import annotations

import pytest

from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.load import LoadMeter, Times


@pytest.mark.parametrize(
    ("before", "now", "utilization"),
    [
        ({0: 0.0, 1: 0.0}, {0: 10.0, 1: 5.0}, 75.0),
        ({0: 0.0}, {0: 0.0}, 0.0),
        # A plugged vCPU had no full interval.
        ({0: 0.0}, {0: 10.0, 1: 1.0}, 100.0),
        ({0: 0.0, 1: 3.0}, {0: 5.0}, 50.0),
        # The time of a thread that has ended may be read as 0, or as that of the whole process.
        ({0: 0.0, 1: 8.0}, {0: 10.0, 1: 0.0}, 50.0),
        ({0: 0.0, 1: 8.0}, {0: 0.0, 1: 500.0}, 50.0),
    ],
)
def test_the_utilization_is_the_average_of_the_vcpus(before: Times, now: Times, utilization: float) -> None:
    meter = LoadMeter()
    assert meter.since_last(100.0, before) is None
    assert meter.since_last(110.0, now) == {"utilization": utilization, "count": len(now), "seconds": 10.0}


def test_without_a_common_vcpu_there_is_no_utilization() -> None:
    meter = LoadMeter()
    meter.since_last(100.0, {0: 0.0})
    assert meter.since_last(110.0, {}) is None
    assert meter.since_last(120.0, {1: 0.0}) is None


def test_measurements_at_the_same_moment_are_not_compared() -> None:
    meter = LoadMeter()
    meter.since_last(100.0, {0: 0.0})
    assert meter.since_last(100.0, {0: 0.0}) is None
