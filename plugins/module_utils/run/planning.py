# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the run of one guest, with what the planner needs of its ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.model import CONFIG
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan, StillEjecting, make_plan
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import observe

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestState
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Need, Observation


async def plan_settled(ports: Ports, request: Request, need: Need, seen: Observation) -> tuple[Plan, Observation]:
    """Plan; if the request needs a vCPU whose unplug is in progress, first wait for its end."""
    try:
        return await plan_for(ports, request, seen.state), seen
    except StillEjecting as leaving:
        if ports.machine is None:
            raise
        await ports.machine.settle(leaving.entities, request.timeout)
        seen = await observe(ports, need)
        return await plan_for(ports, request, seen.state), seen


async def plan_for(ports: Ports, request: Request, state: GuestState) -> Plan:
    """Plan with the layout of the next boot that the request leads to."""
    resized = None
    maximum, config = request.maximum, ports.config if state.config is not None else None
    if maximum is not None and config is not None and maximum.vcpus != state.layout_of(CONFIG).max_vcpus:
        resized = await config.resized(maximum)
    return make_plan(request, state, resized)
