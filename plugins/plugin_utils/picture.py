# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of a guest in a terminal: its nodes as boxes, in them sockets and cores, each vCPU with its state."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 96

_ENABLED = "●"
_DISABLED = "○"
_UNTIL_BOOT = "◐"
_FROM_BOOT = "◑"
_OFFLINE = "◌"

_LEGEND = {
    _ENABLED: "enabled",
    _DISABLED: "disabled",
    _OFFLINE: "enabled, but offline in the guest",
    _UNTIL_BOOT: "enabled until the next boot",
    _FROM_BOOT: "enabled from the next boot on",
}


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
    lines.append("  ".join(f"{symbol} {text}" for symbol, text in _LEGEND.items() if symbol in used))
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
    live, config = vcpu["live"], vcpu["config"]
    if live is None or config is None or live == config:
        if (live or config) != "enabled":
            return _DISABLED
        return _OFFLINE if vcpu["online"] is False else _ENABLED
    return _UNTIL_BOOT if live == "enabled" else _FROM_BOOT


def _sockets(vcpus: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows of a node: one for each socket, more where its cores do not fit."""
    rows: list[str] = []
    for place, members in itertools.groupby(vcpus, key=lambda vcpu: (vcpu["socket"], vcpu["die"])):
        title = _place(place)
        cells = _cores(list(members))
        row = title
        for cell in cells:
            if len(row) + 3 + len(cell) > WIDTH - 4 and row.strip():
                rows.append(row)
                row = " " * len(title)
            row = f"{row}   {cell}" if row else cell
        rows.append(row)
    return rows


def _place(place: tuple[Any, Any]) -> str:
    return " ".join(f"{level} {number}" for level, number in zip(("socket", "die"), place) if number is not None)


def _cores(vcpus: Sequence[Mapping[str, Any]]) -> list[str]:
    width = max(len(str(vcpu["id"])) for vcpu in vcpus)
    cells = []
    for core, threads in itertools.groupby(vcpus, key=lambda vcpu: vcpu["core"]):
        drawn = " ".join(f"{_symbol(vcpu)} {vcpu['id']:<{width}}" for vcpu in threads)
        cells.append(drawn if core is None else f"core {core}: {drawn}")
    return cells


def _box(title: str, rows: Sequence[str]) -> list[str]:
    inner = max([len(row) for row in rows] + [len(title)]) + 2
    return [
        f"┌─{title}{'─' * (inner - len(title) - 1)}┐",
        *(f"│ {row:<{inner - 1}}│" for row in rows),
        f"└{'─' * inner}┘",
    ]
