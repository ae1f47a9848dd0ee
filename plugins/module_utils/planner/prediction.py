# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state after a plan, for check mode. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    CONFIG,
    LIVE,
    OFFLINE,
    ONLINE,
    UNPLUG,
    ConfigState,
    GuestState,
    OnlineState,
    StepKind,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.boot_vcpus import made_hotpluggable
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.placement import predicted_placements

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan


def predict(state: GuestState, plan: Plan) -> GuestState:
    """Return ``state`` after all steps of ``plan`` have succeeded."""
    if state.live is not None and LIVE in plan.reached:
        placements = predicted_placements(state, plan.steps)
        state = state._replace(live=state.live._replace(enabled=plan.reached[LIVE], placements=placements))
    if state.config is not None and CONFIG in plan.reached:
        state = state._replace(config=_predicted_config(state, state.config, plan))
        if plan.next_boot is not None:
            state = state.with_next_boot(plan.next_boot)
    if state.online is not None:
        state = state._replace(online=_predicted_online(state.online, plan))
    return state


def _predicted_config(state: GuestState, config: ConfigState, plan: Plan) -> ConfigState:
    enabled = plan.reached[CONFIG]
    hotpluggable = config.hotpluggable | made_hotpluggable(plan.steps) | (config.enabled - enabled)
    if plan.next_boot is not None:
        # Those that are added are hotpluggable.
        possible = frozenset(range(plan.next_boot.max_vcpus))
        hotpluggable = (hotpluggable & possible) | possible.difference(range(state.layout_of(CONFIG).max_vcpus))
    return config._replace(enabled=enabled, hotpluggable=hotpluggable)


def _predicted_online(online: OnlineState, plan: Plan) -> OnlineState:
    ids: dict[StepKind, set[int]] = {}
    for step in plan.steps:
        ids.setdefault(step.kind, set()).update(step.vcpus)
    added, removed = ids.get(ONLINE, set()), ids.get(OFFLINE, set()) | ids.get(UNPLUG, set())
    known = (online.known | added) - ids.get(UNPLUG, set()) if online.known else online.known
    return online._replace(enabled=frozenset((online.enabled | added) - removed) & known, known=frozenset(known))
