# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a rollout: a row for each guest, with its layout, its state, and what was or will be done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .guest_layout import headroom_of
from .guest_state import SCOPES, plain

if TYPE_CHECKING:
    from .desired import Row


def rollout_report(
    rows: Iterable[Mapping[str, Any]], reverted: Iterable[Mapping[str, Any]], rollout_id: str, phase: str
) -> dict[str, Any]:
    """Return the report of a rollout: ``rollout``, ``phase``, ``guests`` and ``reverted``.

    ``rows`` are those of ``plan_rows`` or ``outcome_rows``, ``reverted`` the outcome rows of a revert. ``phase`` is
    plan, outcome or revert.
    """
    return {
        "rollout": rollout_id,
        "phase": phase,
        "guests": [_public(row) for row in plain(list(rows))],
        "reverted": [_public(row) for row in plain(list(reverted))],
    }


def _public(row: Row) -> Row:
    """The row of a guest in its present state: after the rollout if it has been changed, else before it."""
    before = row["before"] or {}
    present = row.get("after") or {**before, "online": row.get("online", before.get("online"))}
    return {
        **{name: row.get(name) for name in ("guest", "hypervisor", "uuid", "arch", "machine", "state")},
        **{scope: present.get(scope) for scope in SCOPES},
        "headroom": headroom_of(row["maximum"], present),
        "planned": row["planned"],
        "cores": row["cores"],
        "steps": row["steps"],
        "result": row.get("result"),
        "failed": row.get("failed", bool(row["blocker"])),
        "error_code": row.get("error_code") or row["blocker"],
        "msg": row["msg"],
    }
