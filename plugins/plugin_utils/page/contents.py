# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contents of a page: its headings, tables and cells, as text that is safe to show and bounded in length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

from ..guest_state import ids_of
from .picture import MARKS, Node, picture_of, used_marks

# Of a name, and of an error message; guests and peers choose their length.
_LONGEST_NAME = 120
_LONGEST_TEXT = 1000

_NONE = "-"


class Cell(NamedTuple):
    """A cell of a table; ``key`` is a number to sort by, None to sort by the text."""

    title: str
    text: str
    key: int | None = None
    is_alert: bool = False


class GuestRow(NamedTuple):
    """A guest: the cells after its name, its picture and what else is known, and the values to filter by."""

    name: str
    cells: list[Cell]
    nodes: list[Node]
    facts: list[tuple[str, str]]
    hypervisor: str
    state: str
    needs_attention: bool


class GuestTable(NamedTuple):
    """A table of guests with its heading."""

    heading: str
    columns: list[str]
    guests: list[GuestRow]


class Failure(NamedTuple):
    """A place whose guests could not be inspected."""

    hypervisor: str
    place: str
    error_code: str
    msg: str


class Contents(NamedTuple):
    """All that a page shows.

    ``legend`` has each mark of its pictures and what it means, ``attention`` says which guests need attention.
    """

    title: str
    summary: list[tuple[str, str]]
    tables: list[GuestTable]
    failures: list[Failure]
    legend: list[tuple[str, str]]
    attention: str


def audit_contents(report: Mapping[str, Any]) -> Contents:
    """Return the contents of the page about an audit, from ``guests`` and ``failures`` of ``audit_report``."""
    failures = [
        Failure(_name(one["hypervisor"]), _name(one["place"]), _name(one["error_code"]), _text(one["msg"]))
        for one in report["failures"]
    ]
    guests = [_guest(guest, [_drift(guest)], bool(guest["drifts"])) for guest in report["guests"]]
    summary = [("not inspected", str(len(failures)))] if failures else []
    return _contents("Audit of vCPUs", [("Guests", guests)], summary, "with a drift or an error", failures)


def rollout_contents(report: Mapping[str, Any]) -> Contents:
    """Return the contents of the page about a rollout, from what ``rollout_report`` returns."""
    titles = {"plan": "Plan of rollout", "outcome": "Outcome of rollout", "revert": "Revert of rollout"}
    tables = [
        (heading, [_guest(guest, _progress(guest), _is_unfinished(guest)) for guest in report[part]])
        for heading, part in (("Guests", "guests"), ("Reverted guests", "reverted"))
        if report[part]
    ]
    title = f"{titles[report['phase']]} {_name(report['rollout'])}"
    return _contents(title, tables, [], "changed or failed", [])


def _contents(
    title: str,
    tables: Sequence[tuple[str, list[GuestRow]]],
    summary: Sequence[tuple[str, str]],
    attention: str,
    failures: list[Failure],
) -> Contents:
    guests = [guest for _heading, rows in tables for guest in rows]
    marks = {mark for guest in guests for mark in used_marks(guest.nodes)}
    counts = [
        ("guests", str(len(guests))),
        ("hypervisors", str(len({guest.hypervisor for guest in guests} | {one.hypervisor for one in failures}))),
        (attention, str(sum(guest.needs_attention for guest in guests))),
    ]
    return Contents(
        title,
        [*counts, *summary],
        [GuestTable(heading, ["Guest", *_titles(rows)], rows) for heading, rows in tables],
        failures,
        [(mark, meaning) for mark, meaning in MARKS.items() if mark in marks],
        attention,
    )


def _titles(rows: Iterable[GuestRow]) -> list[str]:
    return next(([cell.title for cell in row.cells] for row in rows), [])


def _guest(guest: Mapping[str, Any], last: Sequence[Cell], needs_attention: bool) -> GuestRow:
    hypervisor, state = _name(guest["hypervisor"]), _name(guest["state"])
    cells = [
        Cell("Hypervisor", hypervisor),
        Cell("State", state),
        _enabled("Live", guest["live"]),
        _enabled("Config", guest["config"]),
        _headroom(guest["headroom"]),
        *last,
    ]
    facts = [
        ("UUID", _name(guest["uuid"])),
        ("Machine", ", ".join(_name(guest[part]) for part in ("arch", "machine") if guest[part])),
        ("Online in the guest", _name(guest["online"])),
        ("Message", _text(guest["msg"])),
    ]
    known = [(title, text) for title, text in facts if text]
    return GuestRow(_name(guest["guest"]), cells, picture_of(guest), known, hypervisor, state, needs_attention)


def _enabled(title: str, vcpus: str | None) -> Cell:
    if vcpus is None:
        return Cell(title, _NONE, -1)
    count = len(ids_of(vcpus))
    return Cell(title, f"{_name(vcpus)} ({count})" if count else "none (0)", count)


def _headroom(headroom: Mapping[str, int | None]) -> Cell:
    known = [(scope, left) for scope in ("live", "config") for left in [headroom.get(scope)] if left is not None]
    if not known:
        return Cell("Headroom", _NONE, -1)
    values = {left for _scope, left in known}
    text = str(known[0][1]) if len(values) == 1 else ", ".join(f"{scope} {left}" for scope, left in known)
    return Cell("Headroom", text, known[0][1])


def _drift(guest: Mapping[str, Any]) -> Cell:
    return Cell("Drift", _text(guest["drifts"]) or "none", is_alert=bool(guest["drifts"]))


def _progress(guest: Mapping[str, Any]) -> list[Cell]:
    result = guest["result"] or guest["error_code"] or ("to change" if guest["steps"] else "as desired")
    return [
        Cell("Steps", _text(guest["steps"]) or "none"),
        Cell("Result", _text(result), is_alert=bool(guest["failed"])),
    ]


def _is_unfinished(guest: Mapping[str, Any]) -> bool:
    return bool(guest["failed"] or guest["steps"] or guest["error_code"])


def _name(value: Any) -> str:
    return "" if value is None else printable(value, _LONGEST_NAME)


def _text(value: Any) -> str:
    return "" if value is None else printable(value, _LONGEST_TEXT)
