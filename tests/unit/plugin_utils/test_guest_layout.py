# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cores and the headroom of a guest, from the results of the modules."""

from __future__ import annotations

from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.model import Layout
from ansible_collections.kvm.hotplug.plugins.plugin_utils.guest_layout import headroom_of, layout_of
from ansible_collections.kvm.hotplug.plugins.plugin_utils.guest_state import state_of

from ..support.guests import layout
from ..support.rollouts import result
from .test_drawing import report


def cores(machine: Layout) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = layout_of(report(machine, {0}))["cores"]
    return found


def test_threads_of_a_core_are_one_entry_with_the_levels_that_the_machine_has() -> None:
    assert cores(layout(sockets=2, cores=1, threads=2, nodes=2)) == [
        {"node": 0, "socket": 0, "core": 0, "vcpus": "0-1"},
        {"node": 1, "socket": 1, "core": 0, "vcpus": "2-3"},
    ]


def test_vcpus_of_a_machine_without_cores_are_entries_of_their_own() -> None:
    bare = [{"id": vcpu, "live": "enabled", "config": None, "online": None} for vcpu in range(2)]
    assert layout_of({"vcpus": bare})["cores"] == [{"vcpus": "0"}, {"vcpus": "1"}]


def test_the_headroom_is_the_maximum_less_the_enabled_vcpus() -> None:
    seen = result("013", config="01")
    assert headroom_of(layout_of(seen)["maximum"], state_of(seen)) == {"live": 5, "config": 6}


def test_the_headroom_that_a_module_returns_has_precedence() -> None:
    seen = result("013", config="01", headroom={"live": 5, "config": 14})
    assert headroom_of(layout_of(seen)["maximum"], state_of(seen)) == {"live": 5, "config": 14}


def test_a_guest_that_was_not_inspected_has_no_headroom_and_no_cores() -> None:
    found = layout_of({"failed": True, "guest": {}})
    assert (found["cores"], headroom_of(found["maximum"], None)) == ([], {"live": None, "config": None})
