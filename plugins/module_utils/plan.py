# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: what to do, step by step, to bring a guest from its observed state to the wish. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.desired import Wish
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    GUEST_NOT_RUNNING,
    UNPLUG_PENDING,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    CONFIG,
    DISABLE,
    ENABLE,
    LIVE,
    PLUG,
    UNPLUG,
    Blocker,
    ConfigState,
    Entity,
    GuestState,
    LiveState,
    Step,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.target import resolve


@dataclass(frozen=True)
class Plan:
    """The steps in the order to take them, and the ids each scope has enabled when all are done."""

    steps: tuple[Step, ...]
    reached: Mapping[str, frozenset[int]]

    @property
    def changes(self) -> bool:
        """Whether carrying the plan out changes anything: the ``changed`` of check mode."""
        return bool(self.steps)


class StillEjecting(HotplugError):
    """The wish needs entities that the guest is about to let go: wait for them, observe, plan again."""

    def __init__(self, entities: Sequence[Entity]) -> None:
        ids = format_cpulist(vcpu for entity in entities for vcpu in entity.vcpus)
        super().__init__(
            UNPLUG_PENDING,
            f"vCPU {ids} is wanted enabled, but the guest is still working on an earlier request to unplug it: "
            "run the task again when the guest is done",
        )
        self.entities = tuple(entities)


def scopes_of(scope: str, state: GuestState) -> tuple[str, ...]:
    """Return the scopes that the option ``scope`` means for this guest, live first.

    Raises ``HotplugError`` when the guest lacks a scope that was asked for by name.
    """
    has = tuple(name for name, found in ((LIVE, state.live), (CONFIG, state.config)) if found is not None)
    if scope == "all":
        return has
    if scope == "current":
        return has[:1]
    if scope not in has:
        if scope == LIVE:
            raise HotplugError(
                GUEST_NOT_RUNNING, "scope is live, but the guest is shut off: start it, or use scope config or current"
            )
        raise HotplugError(
            CONFLICTING_REQUEST,
            "scope is config, but nothing here holds this guest's config state: use scope live, current or all",
        )
    return (scope,)


def make_plan(wish: Wish, state: GuestState, scope: str = "all", whole_cores: bool = False) -> Plan:
    """Return the plan that makes ``state`` satisfy ``wish``; no step where it does already.

    Raises ``HotplugError`` when the wish cannot be satisfied, ``StillEjecting`` when it cannot be yet.
    """
    reached = resolve(wish, state, scopes_of(scope, state), whole_cores)
    steps: list[Step] = []
    if LIVE in reached and state.live is not None:
        steps += _live_steps(state.layout.entities, state.live, reached[LIVE])
    if CONFIG in reached and state.config is not None:
        steps += _steps(state.layout.entities, state.config, reached[CONFIG], CONFIG, ENABLE, DISABLE)
    return Plan(tuple(steps), reached)


def _live_steps(entities: Iterable[Entity], live: LiveState, wanted: frozenset[int]) -> list[Step]:
    leaving = [
        entity for entity in entities if live.ejecting.intersection(entity.vcpus) and wanted.intersection(entity.vcpus)
    ]
    if leaving:
        raise StillEjecting(leaving)
    return _steps(entities, live, wanted, LIVE, PLUG, UNPLUG)


def _steps(
    entities: Iterable[Entity],
    found: LiveState | ConfigState,
    wanted: frozenset[int],
    target: str,
    add: str,
    remove: str,
) -> list[Step]:
    """Additions first, so that the guest never has fewer vCPUs than before and after; the highest goes first."""
    adds = [entity for entity in entities if not wanted.isdisjoint(entity.vcpus) and not _all_in(entity, found.enabled)]
    removes = [
        entity for entity in entities if wanted.isdisjoint(entity.vcpus) and not found.enabled.isdisjoint(entity.vcpus)
    ]
    _refuse_blocked(adds, found.cannot_enable, "enabled")
    _refuse_blocked(removes, found.cannot_disable, "disabled")
    return [Step(add, target, entity) for entity in adds] + [
        Step(remove, target, entity) for entity in reversed(removes)
    ]


def _all_in(entity: Entity, enabled: frozenset[int]) -> bool:
    return enabled.issuperset(entity.vcpus)


def _refuse_blocked(entities: Iterable[Entity], blockers: Mapping[int, Blocker], participle: str) -> None:
    """Name every blocked entity at once, by the first blocker: users fix all of a kind together."""
    blocked: dict[Blocker, list[int]] = {}
    for entity in entities:
        blocker = blockers.get(entity.index)
        if blocker is not None and not blocker.passing:
            blocked.setdefault(blocker, []).extend(entity.vcpus)
    for blocker, vcpus in blocked.items():
        raise HotplugError(
            blocker.code,
            f"vCPU {format_cpulist(vcpus)} cannot be {participle}: {blocker.reason}; {blocker.remedy}",
        )
