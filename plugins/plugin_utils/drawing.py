# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of a guest in a terminal: its nodes as boxes, in them sockets and cores, each vCPU with its state."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.model import LEVELS

from .vcpu_symbols import LEGEND, symbol_of

# Of a row; its box takes four columns more.
WIDTH = 96
THREADS_IN_A_CELL = 8

_AROUND_A_CORE = LEVELS[: LEVELS.index("core")]


def draw(report: Mapping[str, Any]) -> str:
    """Return the picture of ``report``: what ``vcpu`` returns, or one of the guests of ``vcpu_info``."""
    vcpus = report["vcpus"]
    by_node: dict[Any, list[Mapping[str, Any]]] = {}
    for vcpu in vcpus:
        by_node.setdefault(vcpu["node"], []).append(vcpu)
    lines = [_headline(report)]
    for node in sorted(by_node, key=lambda number: (number is None, number)):
        lines += _box("" if node is None else f" node {node} ", _sockets(by_node[node]))
    used = {_symbol(vcpu) for vcpu in vcpus}
    lines += _wrapped("", [f"{symbol} {text}" for symbol, text in LEGEND.items() if symbol in used], "  ")
    return "\n".join(lines)


def _headline(report: Mapping[str, Any]) -> str:
    guest, vcpus = report["guest"], report["vcpus"]
    scope = "config" if all(vcpu["live"] is None for vcpu in vcpus) else "live"
    enabled = sum(vcpu[scope] == "enabled" for vcpu in vcpus)
    kind = ", ".join(part for part in (guest["arch"], guest["machine"]) if part)
    facts = [str(guest["state"]), f"{enabled} of {guest['max_vcpus']} vCPUs enabled"]
    if report["sparse"][scope]:
        facts.append("sparse")
    return f"{guest['name'] or 'guest'}{f' ({kind})' if kind else ''}: {', '.join(facts)}"


def _symbol(vcpu: Mapping[str, Any]) -> str:
    live, config = (None if vcpu[scope] is None else vcpu[scope] == "enabled" for scope in ("live", "config"))
    return symbol_of(live, config, vcpu["online"])


def _sockets(vcpus: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows of a node: one for each socket, die, cluster or module, more where its cores do not fit."""
    rows: list[str] = []
    for place, members in itertools.groupby(vcpus, key=lambda vcpu: [vcpu[level] for level in _AROUND_A_CORE]):
        rows += _wrapped(_place(place), _cores(list(members)), "   ")
    return rows


def _wrapped(title: str, cells: Sequence[str], gap: str) -> list[str]:
    """``title`` and ``cells`` in rows of at most ``WIDTH`` columns, further ones indented."""
    rows = [title]
    indent = " " * len(title)
    for cell in cells:
        if rows[-1].strip() and len(rows[-1]) + len(gap) + len(cell) > WIDTH and rows[-1] != title:
            rows.append(indent)
        rows[-1] = f"{rows[-1]}{gap}{cell}" if rows[-1] else cell
    return rows


def _place(numbers: Sequence[int | None]) -> str:
    return " ".join(f"{level} {number}" for level, number in zip(_AROUND_A_CORE, numbers) if number is not None)


def _cores(vcpus: Sequence[Mapping[str, Any]]) -> list[str]:
    """A cell for each core; a core of many threads makes several, so that each fits a row."""
    width = max(len(str(vcpu["id"])) for vcpu in vcpus)
    cells = []
    for core, threads in itertools.groupby(vcpus, key=lambda vcpu: vcpu["core"]):
        title = "" if core is None else f"core {core}: "
        drawn = [f"{_symbol(vcpu)} {vcpu['id']:<{width}}" for vcpu in threads]
        for first in range(0, len(drawn), THREADS_IN_A_CELL):
            cells.append(title + " ".join(drawn[first : first + THREADS_IN_A_CELL]))
            title = " " * len(title)
    return cells


def _box(title: str, rows: Sequence[str]) -> list[str]:
    inner = max([len(row) for row in rows] + [len(title)]) + 2
    return [
        f"┌─{title}{'─' * (inner - len(title) - 1)}┐",
        *(f"│ {row:<{inner - 1}}│" for row in rows),
        f"└{'─' * inner}┘",
    ]
