# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of a guest in a page: its nodes, in them sockets and cores, and each vCPU with its state."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import parse_cpulist

from ..guest_layout import OF_A_CORE
from ..guest_state import SCOPES, ids_of
from ..vcpu_symbols import DISABLED, ENABLED, FROM_BOOT, LEGEND, OFFLINE, UNTIL_BOOT, symbol_of

TO_ENABLE, TO_DISABLE, DRIFTED = "+", "-", "!"

# What each mark of a vCPU means; the first ones are its state, the others stand behind its id.
MARKS = {
    **LEGEND,
    TO_ENABLE: "to be enabled or onlined for the desired state",
    TO_DISABLE: "to be disabled or offlined for the desired state",
    DRIFTED: "libvirt's record or the placement of the thread differs",
}

CLASSES = {
    ENABLED: "enabled",
    DISABLED: "disabled",
    OFFLINE: "offline",
    UNTIL_BOOT: "until-boot",
    FROM_BOOT: "from-boot",
}

# The levels around a core, without its node, which has a box of its own.
_AROUND_A_CORE = OF_A_CORE[1:-1]


class Vcpu(NamedTuple):
    """A vCPU: ``marks`` follow its id, ``kind`` is its class in the style sheet, ``meaning`` says all in words."""

    id: int
    symbol: str
    kind: str
    marks: str
    meaning: str


class Core(NamedTuple):
    """A core; ``title`` is empty where the machine reports no cores."""

    title: str
    vcpus: list[Vcpu]


class Place(NamedTuple):
    """A socket, die, cluster or module, with its cores."""

    title: str
    cores: list[Core]


class Node(NamedTuple):
    """A guest NUMA node; ``title`` is empty where the guest has none."""

    title: str
    places: list[Place]


def picture_of(guest: Mapping[str, Any]) -> list[Node]:
    """Return the nodes of a guest, which is a row of a report; none if its layout is unknown."""
    states = _States(guest)
    nodes: dict[int | None, list[Mapping[str, Any]]] = {}
    for core in guest["cores"]:
        nodes.setdefault(core.get("node"), []).append(core)
    return [
        Node("" if node is None else f"node {node}", _places(nodes[node], states))
        for node in sorted(nodes, key=lambda number: (number is None, number))
    ]


def used_marks(nodes: Sequence[Node]) -> set[str]:
    """Return the marks that a picture contains."""
    vcpus = [vcpu for node in nodes for place in node.places for core in place.cores for vcpu in core.vcpus]
    return {mark for vcpu in vcpus for mark in (vcpu.symbol, *vcpu.marks)}


class _States:
    """The sets of a guest's vCPUs, from the cpulists of its row."""

    def __init__(self, guest: Mapping[str, Any]) -> None:
        self._present = {scope: None if guest[scope] is None else ids_of(guest[scope]) for scope in SCOPES}
        self._added: set[int] = set()
        self._removed: set[int] = set()
        planned = guest["planned"] or {}
        for scope, present in self._present.items():
            if present is not None and planned.get(scope) is not None:
                desired = ids_of(planned[scope])
                self._added |= desired - present
                self._removed |= present - desired
        drift = guest.get("drift") or {}
        self._drifted = ids_of(drift.get("libvirt")) | ids_of(drift.get("placement"))

    def of(self, vcpu: int) -> Vcpu:
        """Return a vCPU with its symbol and marks."""
        live, config = self._is_in("live", vcpu), self._is_in("config", vcpu)
        online = self._is_in("online", vcpu) if live else None
        symbol = symbol_of(live, config, online)
        marked = ((TO_ENABLE, self._added), (TO_DISABLE, self._removed), (DRIFTED, self._drifted))
        marks = "".join(mark for mark, vcpus in marked if vcpu in vcpus)
        return Vcpu(vcpu, symbol, CLASSES[symbol], marks, ", ".join(MARKS[mark] for mark in (symbol, *marks)))

    def _is_in(self, scope: str, vcpu: int) -> bool | None:
        present = self._present[scope]
        return None if present is None else vcpu in present


def _places(cores: Sequence[Mapping[str, Any]], states: _States) -> list[Place]:
    return [
        Place(_title(place), [_core(core, states) for core in members])
        for place, members in itertools.groupby(cores, key=lambda core: [core.get(level) for level in _AROUND_A_CORE])
    ]


def _title(numbers: Sequence[int | None]) -> str:
    return " ".join(f"{level} {number}" for level, number in zip(_AROUND_A_CORE, numbers) if number is not None)


def _core(core: Mapping[str, Any], states: _States) -> Core:
    title = f"core {core['core']}" if "core" in core else ""
    return Core(title, [states.of(vcpu) for vcpu in sorted(parse_cpulist(core["vcpus"]))])
