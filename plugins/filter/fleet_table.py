# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that sets rows as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_plan import table

DOCUMENTATION = r"""
name: fleet_table
short_description: Set dictionaries as a table in text
version_added: 0.1.0
author:
  - the kvm.hotplug authors (@kvm-hotplug)
description:
  - Makes a line of each dictionary, with columns as wide as what is in them.
positional: _input, columns
options:
  _input:
    description: The rows.
    type: list
    elements: dict
    required: true
  columns:
    description: The keys to show, in this order. A row without one has an empty cell.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Look at all guests of a libvirt
  kvm.hotplug.vcpu_info:
  register: info

- name: Show them
  ansible.builtin.debug:
    msg: "{{ (guests | kvm.hotplug.fleet_table(['name', 'state', 'max_vcpus'])).splitlines() }}"
  vars:
    guests: "{{ info.guests | map(attribute='guest') }}"
"""

RETURN = r"""
_value:
  description: The table, in lines.
  type: str
"""


def fleet_table(rows: Any, columns: Any) -> str:
    """Return the table; raises ``AnsibleFilterError`` when there are no rows or columns to it."""
    if not _is_list(rows) or not all(isinstance(row, Mapping) for row in rows) or not _is_list(columns):
        raise AnsibleFilterError("kvm.hotplug.fleet_table needs a list of dictionaries, and the list of keys to show")
    return table(rows, [str(column) for column in columns])


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"fleet_table": fleet_table}
