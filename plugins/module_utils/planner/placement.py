# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that place the threads of vCPUs where ``<cputune>`` says. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import PLACEMENT_FAILED, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import PLACE, Step
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import NOWHERE, Placement, combined

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, GuestState, LiveState

APPLY = "apply"
VERIFY = "verify"
IGNORE = "ignore"


def place_steps(state: GuestState, plugged: Collection[Entity], wanted: Collection[int], cputune: str) -> list[Step]:
    """Return the steps for the entities that are ``plugged``, and for those that are enabled already and misplaced.

    ``wanted`` are the ids that stay enabled or become enabled. Raises ``HotplugError`` (placement_failed) if threads
    that are to be placed cannot be, or with ``verify`` are not where they should be.
    """
    live, tuning = state.live, state.tuning
    if live is None or tuning is None or cputune == IGNORE:
        return []
    new = [entity for entity in plugged if not tuning.placements.keys().isdisjoint(entity.vcpus)]
    if live.hidden is not None:
        _refuse_hidden(live, {vcpu for entity in new for vcpu in entity.vcpus}, tuning.placements, cputune)
        return []
    staying = live.enabled.intersection(wanted) - live.ejecting
    misplaced = {vcpu: texts for vcpu, texts in (state.misplaced or {}).items() if vcpu in staying}
    if misplaced and cputune == VERIFY:
        texts = (f"vCPU {vcpu}: {', '.join(misplaced[vcpu])}" for vcpu in sorted(misplaced))
        raise HotplugError(
            PLACEMENT_FAILED,
            f"threads are not where <cputune> says: {'; '.join(texts)}; place them, or use cputune: apply or ignore",
        )
    drifted = [entity for entity in state.layout.entities if not misplaced.keys().isdisjoint(entity.vcpus)]
    return [Step(PLACE, entity) for entity in (*new, *(entity for entity in drifted if entity not in new))]


def unverifiable(state: GuestState, cputune: str) -> str:
    """Return a warning about enabled vCPUs whose placement is requested and unknown; empty if there are none.

    libvirt itself places the vCPUs of its guests.
    """
    live, tuning = state.live, state.tuning
    if live is None or tuning is None or live.tuning is not None or cputune == IGNORE:
        return ""
    unknown = [
        vcpu
        for vcpu, requested in tuning.placements.items()
        if vcpu in live.enabled and not requested.is_known_in(live.placements.get(vcpu, NOWHERE))
    ]
    if not unknown:
        return ""
    reason = "the host's kernel does not show all of it" if live.hidden is None else live.hidden.reason
    return f"it is unknown whether vCPU {format_cpulist(unknown)} is where <cputune> says, because {reason}"


def predicted_placements(state: GuestState, steps: Iterable[Step]) -> dict[int, Placement]:
    """Return where the threads run after these steps."""
    found = {} if state.live is None else dict(state.live.placements)
    requested = {} if state.tuning is None else state.tuning.placements
    for step in steps:
        if step.kind == PLACE:
            for vcpu in step.entity.vcpus:
                found[vcpu] = combined(requested.get(vcpu, NOWHERE), found.get(vcpu, NOWHERE))
    return found


def _refuse_hidden(live: LiveState, plugged: Collection[int], requested: Collection[int], cputune: str) -> None:
    """Refuse to plug what could not be placed, and what cannot be verified, before anything is changed.

    libvirt itself places what it plugs.
    """
    vcpus = live.enabled.intersection(requested).union(plugged) if cputune == VERIFY else plugged
    if not vcpus or live.hidden is None or (cputune == APPLY and live.tuning is not None):
        return
    doing = "placed" if cputune == APPLY else "verified to be"
    raise HotplugError(
        PLACEMENT_FAILED,
        f"vCPU {format_cpulist(vcpus)} cannot be {doing} as <cputune> says: {live.hidden.reason}; {live.hidden.remedy}",
    )
