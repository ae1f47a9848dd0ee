# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: the steps from a guest's observed state to the desired state. Pure.

The steps that few guests or requests have are planned in modules that are imported only for those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
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
    GUEST,
    LIVE,
    OFFLINE,
    ONLINE,
    PLUG,
    UNPLUG,
    Blocker,
    Entity,
    GuestState,
    Layout,
    OnlineState,
    Scope,
    Step,
    StepKind,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.target import resolve, unconcerned

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import DesiredState
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request


class Plan(NamedTuple):
    """The steps in order, and the ids enabled in each scope after all of them.

    ``next_boot`` is the layout of the next boot after them, None if the maximum stays.
    """

    steps: tuple[Step, ...]
    reached: Mapping[str, frozenset[int]]
    next_boot: Layout | None = None

    @property
    def changes(self) -> bool:
        """Whether the plan changes anything: ``changed`` in check mode."""
        return bool(self.steps)


class StillEjecting(HotplugError):
    """The request needs entities whose unplug is in progress: wait for its end, observe and plan again."""

    def __init__(self, entities: Sequence[Entity]) -> None:
        ids = format_cpulist(vcpu for entity in entities for vcpu in entity.vcpus)
        super().__init__(
            UNPLUG_PENDING,
            f"vCPU {ids} is to be enabled, but an earlier run requested its unplug, and the guest may still "
            "carry it out: run the task again when the guest has done so, or disable it first, which repeats the "
            "request",
        )
        self.entities = tuple(entities)


def scopes_of(scope: str, state: GuestState) -> tuple[str, ...]:
    """Return the scopes that the option ``scope`` selects for this guest, live first.

    Raises ``HotplugError`` if the guest lacks the scope that the option names.
    """
    has = tuple(name for name, found in ((LIVE, state.live), (CONFIG, state.config)) if found is not None)
    if not has:
        raise HotplugError(
            CONFLICTING_REQUEST,
            "agent_socket alone cannot plug vCPUs: use method agent, or set qmp_socket too",
        )
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
            "scope is config, but this guest has no config state: use scope live, current or all",
        )
    return (scope,)


def make_plan(request: Request, state: GuestState, resized: Layout | None = None) -> Plan:
    """Return the plan from ``state`` to the desired state of ``request``; it has no steps if that is reached.

    ``resized`` is the layout of the next boot with the maximum of the request, None if it has that already. Only a plan
    for a request with ``force`` plugs vCPUs that may end the guest.
    Raises ``HotplugError`` if the request cannot be satisfied, ``StillEjecting`` if it cannot be satisfied yet.
    """
    if request.by_agent:
        return _plan_of_guest(request.desired, state, request.whole_cores)
    try:
        return _plan_of_machine(request, state, resized)
    except StillEjecting:
        raise
    except HotplugError as error:
        named = {"boot_vcpus": request.hotpluggable_boot_vcpus, "maximum": request.maximum is not None}
        options = " and ".join(option for option, is_set in named.items() if is_set)
        if state.live is None or not options or not _is_possible_in_config(request, state, resized):
            raise
        raise HotplugError(
            error.code,
            f"{error.msg}; this task has changed nothing, because the running guest prevents a part of it: with scope "
            f"config it sets {options} and the desired state for the next boot",
        ) from None


def _is_possible_in_config(request: Request, state: GuestState, resized: Layout | None) -> bool:
    try:
        _plan_of_machine(request._replace(scope=CONFIG), state, resized)
    except HotplugError:
        return False
    return True


def _plan_of_machine(request: Request, state: GuestState, resized: Layout | None) -> Plan:
    if state.live is not None and not request.force:
        state = state._replace(live=state.live.without_unsafe_plugs)
    before = state.layout_of(CONFIG)
    after = resized or before
    if resized is not None and state.config is not None:
        state = state.with_next_boot(resized)
    reached = _reached(request, state)
    steps: list[Step] = []
    drifted: Sequence[Step] = ()
    if LIVE in reached and state.live is not None:
        concerned = reached[LIVE] - unconcerned(request.desired, state, request.whole_cores)
        _refuse_leaving(state.layout.entities, state.live.ejecting & concerned)
        live_steps = _steps(state.layout.entities, state.live, reached[LIVE], PLUG, UNPLUG)
        plugged = [step.entity for step in live_steps if step.kind == PLUG]
        placed, drifted = _place_steps(state, plugged, reached[LIVE], request)
        steps += _with_agent(live_steps, placed, state.online, request)
    if CONFIG in reached and state.config is not None:
        entities = max(before, after, key=lambda layout: layout.max_vcpus).entities
        lost: Sequence[Step] = ()
        if resized is not None:
            from ansible_collections.kvm.hotplug.plugins.module_utils.planner.maximum import added, removed

            lost = removed(before, after, reached[CONFIG])
            steps += added(before, after)
        if request.hotpluggable_boot_vcpus:
            from ansible_collections.kvm.hotplug.plugins.module_utils.planner.boot_vcpus import boot_vcpu_steps

            steps += boot_vcpu_steps(entities, state.config, reached[CONFIG])
        steps += _steps(entities, state.config, reached[CONFIG], ENABLE, DISABLE)
        steps += lost
    # Last, so that a thread that cannot be placed again prevents nothing else.
    steps += drifted
    return Plan(tuple(steps), reached, resized)


def _place_steps(
    state: GuestState, plugged: Sequence[Entity], wanted: frozenset[int], request: Request
) -> tuple[Sequence[Step], Sequence[Step]]:
    """The steps that place what is plugged, and those that place again what has drifted."""
    if state.tuning is None:
        return (), ()
    from ansible_collections.kvm.hotplug.plugins.module_utils.planner.placement import place_steps

    return place_steps(state, plugged, wanted, request.cputune)


def _reached(request: Request, state: GuestState) -> dict[str, frozenset[int]]:
    """The desired enabled ids of each scope to change."""
    scopes = scopes_of(request.scope, state)
    if request.hotpluggable_boot_vcpus:
        from ansible_collections.kvm.hotplug.plugins.module_utils.planner.boot_vcpus import check_boot_vcpus

        check_boot_vcpus(state, scopes)
    if request.maximum is not None:
        from ansible_collections.kvm.hotplug.plugins.module_utils.planner.maximum import check_maximum

        check_maximum(state, scopes)
    if request.desired is not None:
        return resolve(request.desired, state, scopes, request.whole_cores)
    return {} if state.config is None else {CONFIG: state.config.enabled}


def _plan_of_guest(desired: DesiredState | None, state: GuestState, whole_cores: bool) -> Plan:
    """The guest OS handles each vCPU separately, even if the machine plugs several at once."""
    if desired is None:
        raise RuntimeError("parsing refuses method agent without a desired state")
    if state.online is None:
        raise HotplugError(GUEST_NOT_RUNNING, "the guest does not run, so its agent is unavailable: start or resume it")
    alone = state._replace(layout=state.layout.by_thread)
    reached = resolve(desired, alone, (GUEST,), whole_cores)
    steps = _steps(alone.layout.entities, state.online, reached[GUEST], ONLINE, OFFLINE)
    return Plan(tuple(steps), reached)


def _with_agent(
    steps: Sequence[Step], placed: Sequence[Step], online: OnlineState | None, request: Request
) -> list[Step]:
    """Add the steps that place, and those of the guest OS: offline before an unplug, online after a plug."""
    plugs = [step for step in steps if step.kind == PLUG]
    found = [*plugs, *placed]
    if online is None:
        return [*found, *steps[len(plugs) :]]
    if request.onlines_plugged:
        found += [Step(ONLINE, step.entity) for step in plugs]
    for step in steps[len(plugs) :]:
        drained = online.enabled.intersection(step.vcpus) - online.cannot_disable.keys()
        if request.drain and drained:
            found.append(Step(OFFLINE, step.entity))
        found.append(step)
    return found


def _refuse_leaving(entities: Iterable[Entity], wanted: frozenset[int]) -> None:
    """Refuse to count vCPUs as enabled that an earlier request may still unplug; ``wanted`` are their ids."""
    leaving = [entity for entity in entities if not wanted.isdisjoint(entity.vcpus)]
    if leaving:
        raise StillEjecting(leaving)


def _steps(
    entities: Iterable[Entity],
    found: Scope,
    wanted: frozenset[int],
    add: StepKind,
    remove: StepKind,
) -> list[Step]:
    """Additions first, so that the guest never has fewer vCPUs than before and after; then the highest ids first."""
    adds = [entity for entity in entities if not wanted.isdisjoint(entity.vcpus) and not _all_in(entity, found.enabled)]
    removes = [
        entity for entity in entities if wanted.isdisjoint(entity.vcpus) and not found.enabled.isdisjoint(entity.vcpus)
    ]
    _refuse_blocked(adds, found.cannot_enable, "enabled")
    _refuse_blocked(removes, found.cannot_disable, "disabled")
    return [Step(add, entity) for entity in adds] + [Step(remove, entity) for entity in reversed(removes)]


def _all_in(entity: Entity, enabled: frozenset[int]) -> bool:
    return enabled.issuperset(entity.vcpus)


def _refuse_blocked(entities: Iterable[Entity], blockers: Mapping[int, Blocker], participle: str) -> None:
    """Report all entities with the same blocker as the first one, so that users can fix them together."""
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
