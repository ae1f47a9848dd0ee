# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The error code of each libvirt error, by its number and text."""

from __future__ import annotations

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import (
    LibvirtCallError,
    classify_failed_placement,
)


@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (38, "cannot set CPU affinity on process 4711: Invalid argument", "placement_failed"),
        (38, "Cannot set scheduler parameters for pid 4711: Operation not permitted", "placement_failed"),
        (38, "Unable to write to '/sys/fs/cgroup/vcpu3/cpuset.memory_migrate': No such file", "placement_failed"),
        (67, "cgroup cpu is required for scheduler tuning", "placement_failed"),
        (55, "invalid argument: vcpu '3' is already in requested state", None),
        (68, "Timed out during operation: cannot acquire state change lock (held by agent=x)", None),
        (1, "internal error: vcpu '3' is missing hotplug data", "internal"),
    ],
)
def test_an_error_of_a_plug_after_which_the_vcpu_is_plugged(number: int, words: str, code: str | None) -> None:
    assert classify_failed_placement(LibvirtCallError(number, words))[0] == code
