# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows as a table in text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

# What a guest or an error message puts into a cell must not make the table unreadable.
_WIDEST_CELL = 120


def text_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Return a table in Markdown: a line with the columns' names, a rule, and a line for each row; None is a dash.

    Because each line begins with a bar, YAML output quotes all of them, and the columns stay aligned.
    """
    cells = [[_cell(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(3, *(len(line[number]) for line in [list(columns), *cells])) for number in range(len(columns))]
    lines = [list(columns), ["-" * width for width in widths], *cells]
    return ["| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(line, widths)) + " |" for line in lines]


def _cell(value: Any) -> str:
    return "-" if value is None else printable(value, _WIDEST_CELL).replace("|", "¦")
