# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles take linear time: a task that reads the variables of all hosts runs once, not on each host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).absolute().parents[2] / "roles"
OF_ALL_HOSTS = "map('extract', hostvars)"
STATIC = ("ansible.builtin.import_tasks", "ansible.builtin.import_role")

Task = Mapping[str, Any]
Variables = Mapping[str, str]


def tasks_of(tasks: list[Task], inherited: Variables) -> Iterator[tuple[Task, Variables]]:
    """Yield each task, blocks included, with the variables of the blocks around it and its own."""
    for task in tasks:
        variables = {**inherited, **{name: str(value) for name, value in task.get("vars", {}).items()}}
        yield task, variables
        for part in ("block", "rescue", "always"):
            yield from tasks_of(task.get(part, []), variables)


def tasks(role: str) -> list[tuple[str, Task, Variables]]:
    return [
        (f"{path.name}: {task.get('name')}", task, variables)
        for path in sorted(ROLES.glob(f"{role}/tasks/*.yml"))
        for task, variables in tasks_of(yaml.safe_load(path.read_text()), {})
    ]


def reads_all_hosts(text: str, variables: Variables) -> bool:
    """Whether a template reads the variables of all hosts, itself or by the variables that it uses."""
    if OF_ALL_HOSTS in text:
        return True
    unused = {name: value for name, value in variables.items() if not re.search(rf"\b{name}\b", text)}
    return any(reads_all_hosts(variables[name], unused) for name in variables.keys() - unused.keys())


@pytest.mark.parametrize("role", ["rollout", "audit"])
def test_only_tasks_that_run_once_read_the_variables_of_all_hosts(role: str) -> None:
    of_role = {
        name: str(value)
        for part in ("vars", "defaults")
        for name, value in yaml.safe_load((ROLES / role / part / "main.yml").read_text()).items()
    }
    found = tasks(role)
    # A fact has precedence over the variable of the role.
    facts = {name for _label, task, _variables in found for name in task.get("ansible.builtin.set_fact", {})}
    by_files = {
        name: value
        for _label, task, variables in found
        if any(action in task for action in ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks"))
        for name, value in variables.items()
    }
    known = {name: value for name, value in {**by_files, **of_role}.items() if name not in facts}
    many, once = [], []
    for label, task, variables in found:
        only_condition = "block" in task or any(action in task for action in STATIC)
        parts = ["when"] if only_condition else sorted(task.keys() - {"vars"})
        text = str([task.get(part) for part in parts])
        if reads_all_hosts(text, {**known, **variables}):
            (once if task.get("run_once") else many).append(label)
    assert once, "the test finds none"
    assert many == []
