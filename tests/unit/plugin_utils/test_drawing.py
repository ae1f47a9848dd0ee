# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drawing of a guest, line by line."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    LEVELS,
    ConfigState,
    Entity,
    GuestFacts,
    GuestState,
    Layout,
    LiveState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.report.guest import guest_report
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Observation
from ansible_collections.kvm.hotplug.plugins.plugin_utils.drawing import draw

from ..support.guests import layout

# What the filter's documentation promises.
LONGEST_LINE = 100

WEB1 = GuestFacts(name="web1", arch="x86_64", machine="pc-q35-10.0", state="running")
SHUT_OFF = GuestFacts(state="shutoff")


def report(
    machine: Layout, live: set[int] | None, config: set[int] | None = None, facts: GuestFacts = WEB1
) -> dict[str, Any]:
    state = GuestState(
        facts,
        machine,
        live=None if live is None else LiveState(frozenset(live)),
        config=None if config is None else ConfigState(frozenset(config)),
    )
    return guest_report(Observation(state))


def picture(*lines: str) -> str:
    return "\n".join(lines)


def test_a_guest_with_two_nodes_has_two_boxes() -> None:
    assert draw(report(layout(sockets=4, cores=2, nodes=2), {0, 1, 5})) == picture(
        "web1 (x86_64, pc-q35-10.0): running, 3 of 8 vCPUs enabled, sparse",
        "┌─ node 0 ─────────────────────────────┐",
        "│ socket 0   core 0: ● 0   core 1: ● 1 │",
        "│ socket 1   core 0: ○ 2   core 1: ○ 3 │",
        "└──────────────────────────────────────┘",
        "┌─ node 1 ─────────────────────────────┐",
        "│ socket 2   core 0: ○ 4   core 1: ● 5 │",
        "│ socket 3   core 0: ○ 6   core 1: ○ 7 │",
        "└──────────────────────────────────────┘",
        "● enabled  ○ disabled",
    )


def test_a_guest_without_nodes_has_one_box_with_grouped_threads() -> None:
    assert draw(report(layout(sockets=1, cores=4, threads=2), {0, 1, 2})) == picture(
        "web1 (x86_64, pc-q35-10.0): running, 3 of 8 vCPUs enabled",
        "┌──────────────────────────────────────────────────────────────────────────────────┐",
        "│ socket 0   core 0: ● 0 ● 1   core 1: ● 2 ○ 3   core 2: ○ 4 ○ 5   core 3: ○ 6 ○ 7 │",
        "└──────────────────────────────────────────────────────────────────────────────────┘",
        "● enabled  ○ disabled",
    )


def test_cores_of_two_clusters_are_not_merged() -> None:
    machine = Layout(
        tuple(
            Entity(vcpu, (vcpu,), None, {"socket": 0, "cluster": vcpu // 2, "core": vcpu % 2, "thread": 0})
            for vcpu in range(4)
        )
    )
    assert draw(report(machine, {0, 2})).splitlines()[2:4] == [
        "│ socket 0 cluster 0   core 0: ● 0   core 1: ○ 1 │",
        "│ socket 0 cluster 1   core 0: ● 2   core 1: ○ 3 │",
    ]


def test_every_level_of_a_machine_is_drawn() -> None:
    levels = dict.fromkeys(LEVELS[:-1], 1)
    lines = draw(report(Layout((Entity(0, (0,), None, levels),)), {0})).splitlines()
    assert lines[2] == "│ drawer 1 book 1 socket 1 die 1 cluster 1 module 1   core 1: ● 0 │"


def test_vcpus_whose_live_and_config_differ_have_their_own_symbols() -> None:
    assert draw(report(layout(sockets=2, cores=2), {0, 1, 2}, {0, 1, 3})) == picture(
        "web1 (x86_64, pc-q35-10.0): running, 3 of 4 vCPUs enabled",
        "┌──────────────────────────────────────┐",
        "│ socket 0   core 0: ● 0   core 1: ● 1 │",
        "│ socket 1   core 0: ◐ 2   core 1: ◑ 3 │",
        "└──────────────────────────────────────┘",
        "● enabled  ◐ enabled until the next boot  ◑ enabled from the next boot on",
    )


def test_a_guest_that_is_shut_off_shows_its_config_and_needs_no_name() -> None:
    assert draw(report(layout(sockets=2, cores=2), None, {0, 1}, SHUT_OFF)) == picture(
        "guest: shutoff, 2 of 4 vCPUs enabled",
        "┌──────────────────────────────────────┐",
        "│ socket 0   core 0: ● 0   core 1: ● 1 │",
        "│ socket 1   core 0: ○ 2   core 1: ○ 3 │",
        "└──────────────────────────────────────┘",
        "● enabled  ○ disabled",
    )


def test_an_offline_vcpu_has_its_own_symbol() -> None:
    shown = report(layout(sockets=1, cores=2), {0, 1})
    shown["vcpus"][1]["online"] = False
    assert draw(shown).splitlines()[-3:] == [
        "│ socket 0   core 0: ● 0   core 1: ◌ 1 │",
        "└──────────────────────────────────────┘",
        "● enabled  ◌ enabled, but offline in the guest",
    ]


def test_cores_that_do_not_fit_in_a_row_continue_in_the_next() -> None:
    machine = layout(sockets=1, cores=3, threads=8, whole_core_entities=True)
    assert draw(report(machine, set(range(8)))).splitlines()[1:-1] == [
        "┌────────────────────────────────────────────────────────────┐",
        "│ socket 0   core 0: ● 0  ● 1  ● 2  ● 3  ● 4  ● 5  ● 6  ● 7  │",
        "│            core 1: ○ 8  ○ 9  ○ 10 ○ 11 ○ 12 ○ 13 ○ 14 ○ 15 │",
        "│            core 2: ○ 16 ○ 17 ○ 18 ○ 19 ○ 20 ○ 21 ○ 22 ○ 23 │",
        "└────────────────────────────────────────────────────────────┘",
    ]


@pytest.mark.parametrize(
    "machine",
    [
        layout(sockets=1, cores=64),
        layout(sockets=2, cores=16, nodes=1),
        layout(sockets=64, cores=1, nodes=8),
        layout(sockets=2, cores=32, threads=2),
        layout(sockets=1, cores=4, threads=8, whole_core_entities=True),
        layout(sockets=1, cores=1, threads=64),
        layout(sockets=1, cores=2, threads=24, nodes=1),
    ],
    ids=["cores", "node", "sockets", "threads", "pseries", "one core", "long cores"],
)
def test_no_line_is_longer_than_a_terminal_is_wide_and_boxes_are_closed(machine: Layout) -> None:
    lines = draw(report(machine, {0})).splitlines()
    assert max(len(line) for line in lines) <= LONGEST_LINE
    assert {line[0] + line[-1] for line in lines[1:-1]} <= {"┌┐", "││", "└┘"}
    for number in range(machine.max_vcpus):
        assert any(f"○ {number}" in line or f"● {number}" in line for line in lines)


def test_the_longest_legend_fits_too() -> None:
    shown = report(layout(sockets=1, cores=5), {0, 1, 2}, {0, 1, 3})
    shown["vcpus"][1]["online"] = False
    lines = draw(shown).splitlines()
    assert all(len(line) <= LONGEST_LINE for line in lines)
    legend = "\n".join(lines[lines.index("└" + "─" * (len(lines[1]) - 2) + "┘") :])
    assert all(symbol in legend for symbol in "●○◌◐◑")
