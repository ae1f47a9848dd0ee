# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that place the threads of vCPUs where ``<cputune>`` says. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import PLACEMENT_FAILED, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import PLACE, Step
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import (
    NOWHERE,
    Placement,
    combined,
    differences,
    on_host,
)

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, GuestState, LiveState

APPLY = "apply"
VERIFY = "verify"
IGNORE = "ignore"


class PlaceSteps(NamedTuple):
    """The steps for the vCPUs of entities that are plugged, and those for others that have drifted."""

    new: tuple[Step, ...] = ()
    drifted: tuple[Step, ...] = ()


def place_steps(state: GuestState, plugged: Collection[Entity], wanted: Collection[int], cputune: str) -> PlaceSteps:
    """Return the steps for the entities that are ``plugged``, and for those that are enabled already and misplaced.

    ``wanted`` are the ids that stay enabled or become enabled. Raises ``HotplugError`` (placement_failed) if threads
    that are to be placed cannot be, or with ``verify`` are not where they should be.
    """
    live, tuning = state.live, state.tuning
    if live is None or tuning is None or cputune == IGNORE:
        return PlaceSteps()
    new = [entity for entity in plugged if not tuning.placements.keys().isdisjoint(entity.vcpus)]
    if live.hidden is not None:
        _refuse_hidden(live, {vcpu for entity in new for vcpu in entity.vcpus}, tuning.placements, cputune)
        return PlaceSteps()
    staying = live.enabled.intersection(wanted) - live.ejecting
    misplaced = {vcpu: texts for vcpu, texts in (state.misplaced or {}).items() if vcpu in staying}
    if misplaced and cputune == VERIFY:
        raise HotplugError(
            PLACEMENT_FAILED,
            f"threads are not where <cputune> says: {_listed(misplaced)}; place them, or use cputune: apply or ignore",
        )
    moved = {vcpu for vcpu in misplaced if is_repairable(state, vcpu)}
    others = [entity for entity in state.layout.entities if entity not in new]
    return PlaceSteps(tuple(_of_each(new, tuning.placements)), tuple(_of_each(others, moved)))


def _of_each(entities: Iterable[Entity], vcpus: Collection[int]) -> Iterator[Step]:
    for entity in entities:
        yield from (Step(PLACE, entity, vcpu=vcpu) for vcpu in entity.vcpus if vcpu in vcpus)


def repair_of(state: GuestState, vcpu: int) -> Placement:
    """Return what can be set of an enabled vCPU: libvirt can only pin its thread again."""
    requested = NOWHERE if state.tuning is None else state.tuning.placements.get(vcpu, NOWHERE)
    recorded = state.live is not None and state.live.tuning is not None
    return Placement(pin=requested.pin) if recorded else requested


def is_repairable(state: GuestState, vcpu: int) -> bool:
    """Return whether something of a misplaced vCPU can be set."""
    live = state.live
    return live is not None and bool(
        differences(repair_of(state, vcpu), live.placements.get(vcpu, NOWHERE), live.host_cpus)
    )


def placement_warnings(state: GuestState, cputune: str) -> list[str]:
    """Return warnings about enabled vCPUs that are not, or may not be, where ``<cputune>`` says, and stay there."""
    live = state.live
    if live is None or state.tuning is None or cputune == IGNORE:
        return []
    left = {
        vcpu: texts
        for vcpu, found in (state.misplaced or {}).items()
        if (texts := _left(state, vcpu, found)) and cputune == APPLY
    }
    found = [unverifiable(state, cputune), _narrowed(state)]
    if left:
        found.append(
            f"libvirt cannot place threads of a running guest again as <cputune> says: {_listed(left)}; plug the vCPU "
            "again, or set that by other means (chrt)"
        )
    return [text for text in found if text]


def _left(state: GuestState, vcpu: int, found: Collection[str]) -> tuple[str, ...]:
    """The differences that a repair leaves."""
    live = state.live
    if live is None or live.tuning is None:
        return ()
    repaired = differences(repair_of(state, vcpu), live.placements.get(vcpu, NOWHERE), live.host_cpus)
    return tuple(text for text in found if text not in repaired)


def _narrowed(state: GuestState) -> str:
    """A warning about pins with CPUs that are not online."""
    if state.live is None or state.tuning is None or state.live.host_cpus is None:
        return ""
    missing: set[int] = set()
    for vcpu, requested in state.tuning.placements.items():
        if vcpu in state.live.enabled and requested.pin is not None:
            missing |= parse_cpulist(requested.pin) - state.live.host_cpus
    if not missing:
        return ""
    return (
        f"<cputune> names host CPU {format_cpulist(missing)}, which is offline or does not exist: only others are used"
    )


def _listed(misplaced: Mapping[int, Collection[str]]) -> str:
    return "; ".join(f"vCPU {vcpu}: {', '.join(misplaced[vcpu])}" for vcpu in sorted(misplaced))


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
    remedy = "" if live.hidden is None else f"; {live.hidden.remedy}"
    return f"it is unknown whether vCPU {format_cpulist(unknown)} is where <cputune> says, because {reason}{remedy}"


def predicted_placements(state: GuestState, steps: Iterable[Step]) -> dict[int, Placement]:
    """Return where the threads run after these steps."""
    found = {} if state.live is None else dict(state.live.placements)
    requested = {} if state.tuning is None else state.tuning.placements
    cpus = None if state.live is None else state.live.host_cpus
    for step in steps:
        if step.kind == PLACE:
            for vcpu in step.vcpus:
                asked = repair_of(state, vcpu) if vcpu in found else requested.get(vcpu, NOWHERE)
                found[vcpu] = combined(on_host(asked, cpus), found.get(vcpu, NOWHERE))
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
