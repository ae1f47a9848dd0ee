# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter that calls the functions of ``plugin_utils`` for the roles ``rollout`` and ``audit``."""

from __future__ import annotations

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ansible_collections.kvm.hotplug.plugins.plugin_utils.audit import (
    audit_failures,
    audit_full,
    audit_problems,
)
from ansible_collections.kvm.hotplug.plugins.plugin_utils.desired import desired_guests, inventory_guests
from ansible_collections.kvm.hotplug.plugins.plugin_utils.page.render import audit_page, rollout_page
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_plan import latest_rows, problems
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_record import config_to_revert
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_report import rollout_report
from ansible_collections.kvm.hotplug.plugins.plugin_utils.table import text_table

DOCUMENTATION = r"""
name: _rollout
short_description: Private to the roles of this collection
version_added: 1.0.0
author:
  - the kvm.hotplug authors (@kvm-hotplug)
description:
  - Calls an internal function of the roles C(kvm.hotplug.rollout) and C(kvm.hotplug.audit).
  - The underscore marks this filter as private. It may change or disappear in any release. Use the roles, or the
    playbooks C(kvm.hotplug.rollout), C(kvm.hotplug.revert) and C(kvm.hotplug.audit).
positional: _input, function
options:
  _input:
    description: The first argument of the function.
    type: raw
    required: true
  function:
    description: The name of the function. Its further arguments follow.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the outcome, as the roles do
  ansible.builtin.debug:
    msg: "{{ rows | kvm.hotplug._rollout('text_table', ['guest', 'result']) }}"
"""

RETURN = r"""
_value:
  description: The return value of the function.
  type: raw
"""

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        audit_failures,
        audit_full,
        audit_page,
        audit_problems,
        config_to_revert,
        desired_guests,
        inventory_guests,
        latest_rows,
        problems,
        rollout_page,
        rollout_report,
        text_table,
    )
}


def call(value: Any, function: str, *arguments: Any) -> Any:
    """Return the result of the function of this name; raises ``AnsibleFilterError`` if there is none."""
    if function not in _FUNCTIONS:
        raise AnsibleFilterError(f"kvm.hotplug._rollout has no function {function!r}: update the roles and the filter")
    return _FUNCTIONS[function](value, *arguments)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"_rollout": call}
