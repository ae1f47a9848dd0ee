# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clock jumps have no effect: nothing that a module ships measures time by a clock that can be set."""

from __future__ import annotations

import ast
from pathlib import Path

PLUGINS = Path(__file__).absolute().parents[2] / "plugins"
MONOTONIC = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"}
# The name of a backup contains the date, as those of Ansible's own modules.
NAMES_OF_BACKUPS = {("atomic_file.py", "strftime"), ("atomic_file.py", "localtime")}
# Python modules that read the clock in other ways.
OTHERS = {"datetime", "sched"}


def test_only_the_name_of_a_backup_depends_on_the_date() -> None:
    used: set[tuple[str, str]] = set()
    for file in (PLUGINS / "module_utils").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
                used.add((file.name, node.attr))
            elif isinstance(node, ast.ImportFrom) and node.module in {"time", *OTHERS}:
                used |= {(file.name, name.name) for name in node.names}
            elif isinstance(node, ast.Import):
                used |= {(file.name, name.name) for name in node.names if name.name in OTHERS}
    assert {(file, name) for file, name in used if name not in MONOTONIC} == NAMES_OF_BACKUPS
