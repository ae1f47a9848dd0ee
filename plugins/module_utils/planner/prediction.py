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
    GuestState,
    OnlineState,
    StepKind,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.boot_vcpus import made_hotpluggable

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan


def predict(state: GuestState, plan: Plan) -> GuestState:
    """Return ``state`` after all steps of ``plan`` have succeeded."""
    if state.live is not None and LIVE in plan.reached:
        state = state._replace(live=state.live._replace(enabled=plan.reached[LIVE]))
    if state.config is not None and CONFIG in plan.reached:
        enabled = plan.reached[CONFIG]
        hotpluggable = state.config.hotpluggable | made_hotpluggable(plan.steps) | (state.config.enabled - enabled)
        state = state._replace(config=state.config._replace(enabled=enabled, hotpluggable=hotpluggable))
    if state.online is not None:
        state = state._replace(online=_predicted_online(state.online, plan))
    return state


def _predicted_online(online: OnlineState, plan: Plan) -> OnlineState:
    ids: dict[StepKind, set[int]] = {}
    for step in plan.steps:
        ids.setdefault(step.kind, set()).update(step.entity.vcpus)
    added, removed = ids.get(ONLINE, set()), ids.get(OFFLINE, set()) | ids.get(UNPLUG, set())
    known = (online.known | added) - ids.get(UNPLUG, set()) if online.known else online.known
    return online._replace(enabled=frozenset((online.enabled | added) - removed) & known, known=frozenset(known))
