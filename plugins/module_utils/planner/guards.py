# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a plan against the guards of its request. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestState
    from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.guards import Guards


def check_guards(plan: Plan, state: GuestState, guards: Guards) -> None:
    """Refuse a plan that violates a guard; a plan without steps violates none. Raises ``HotplugError``."""
    if not plan.changes:
        return
    for scope, expected in guards.expected.items():
        found = state.scope(scope)
        if found is None or found.enabled != expected:
            now = "not known" if found is None else format_cpulist(found.enabled)
            raise HotplugError(
                CONFLICTING_REQUEST,
                f"the enabled {scope} vCPUs are {now}, but expected was "
                f"{format_cpulist(expected)}: check the guest, and correct expected",
            )
    for scope, reached in plan.reached.items():
        found = state.scope(scope)
        lost = frozenset() if found is None else found.enabled - reached
        if guards.max_disable is not None and len(lost) > guards.max_disable:
            raise HotplugError(
                CONFLICTING_REQUEST,
                f"{len(lost)} vCPUs would be disabled ({format_cpulist(lost)}), and max_disable is "
                f"{guards.max_disable}: disable fewer, or raise it",
            )
