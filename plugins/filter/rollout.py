# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of ``kvm.hotplug.rollout`` and ``kvm.hotplug.audit``, each documented in the YAML file of its name."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.kvm.hotplug.plugins.plugin_utils.audit import audit_rows
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_plan import plan_rows, result_rows
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_record import begin, changed_guests, end, undo


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "audit_rows": audit_rows,
            "rollout_plan": plan_rows,
            "rollout_begin": begin,
            "rollout_end": end,
            "rollout_changed": changed_guests,
            "rollout_undo": undo,
            "rollout_results": result_rows,
        }
