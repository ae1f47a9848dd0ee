# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans, in a short form."""

from __future__ import annotations

from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestState
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan, make_plan
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import DesiredState
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request


def plan_of(desired: DesiredState, state: GuestState, **options: Any) -> Plan:
    """Return the plan for ``desired`` (a desired state), by default without the guest's agent."""
    return make_plan(Request(desired, **{"guest_online": "ignore", "drain": False, **options}), state)
