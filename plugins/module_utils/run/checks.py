# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a plan that changes a guest before its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.model import CONFIG
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.boot_vcpus import made_hotpluggable
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.guards import check_guards

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Observation


def check_changes(ports: Ports, seen: Observation, plan: Plan, request: Request) -> None:
    """Refuse a plan that violates a guard, or whose config state could not boot. Raises ``HotplugError``."""
    check_guards(plan, seen.state, request.guards)
    if CONFIG in plan.reached:
        _check_config(ports, seen, plan, request)


def _check_config(ports: Ports, seen: Observation, plan: Plan, request: Request) -> None:
    """Refuse a state that libvirt or QEMU would only refuse at the next boot."""
    if ports.config is None:
        return
    hotpluggable = made_hotpluggable(plan.steps)
    if plan.next_boot is None:
        ports.config.check(plan.reached[CONFIG], seen.state.layout_of(CONFIG), hotpluggable)
    else:
        ports.config.check(plan.reached[CONFIG], None, hotpluggable, request.maximum)
