# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run of one guest: observe, plan, apply, observe again. Independent of Ansible and QEMU."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    AGENT_UNAVAILABLE,
    CONNECTION_LOST,
    GUEST_NOT_READY,
    GUEST_NOT_RUNNING,
    HotplugError,
    InternalError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    CONFIG,
    LIVE,
    PLACE,
    PLUG,
    UNPLUG,
    GuestState,
    LiveState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.boot_vcpus import made_hotpluggable
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.guards import check_guards
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.placement import placement_warnings
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan, StillEjecting, make_plan
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.prediction import predict
from ansible_collections.kvm.hotplug.plugins.module_utils.run.interruption import OBSERVING_SECONDS, Interrupted
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import (
    Need,
    Observation,
    inspect,
    observe,
    observe_again,
    unsettled_unplugs,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.timeouts import within

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports, Source
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Journal


UNVERIFIED = (
    "without an agent it is unknown whether the guest OS uses the new vCPUs: start the agent, or have the guest OS "
    "online them by itself, with the udev rule that role kvm.hotplug.guest installs, and set missing_agent accept"
)


@dataclass
class Convergence:
    """The result of a request; ``after`` is the predicted state in check mode.

    ``of_boot_vcpus``: the request includes which vCPUs are hotpluggable at the next boot, ``of_maximum``: its maximum.
    ``is_unverified``: a warning is due that only an agent could show whether the guest OS uses the plugged vCPUs.
    ``journal`` is None without steps. After a failure ``error`` is set, and a state that could not be observed is
    None.
    """

    before: Observation | None = None
    after: Observation | None = None
    journal: Journal | None = None
    is_prediction: bool = False
    is_unverified: bool = False
    by_agent: bool = False
    of_boot_vcpus: bool = False
    of_maximum: bool = False
    warnings: list[str] = field(default_factory=list)
    error: HotplugError | None = None

    @property
    def changed(self) -> bool:
        """Whether the guest was changed, or would be in check mode."""
        return self.journal is not None and (self.is_prediction or self.journal.changed)


class Run:
    """The run of one guest: ``prepare`` observes and plans, ``finish`` applies the plan, ``close`` closes its ports.

    The outcome is in ``result``, including errors and defects: no method raises an ``Exception``.
    """

    def __init__(self, source: Source, request: Request) -> None:
        self._source = source
        self._request = request
        self._need = Need(request.needs_config, request.by_agent)
        self._ports: Ports | None = None
        self.result = Convergence(
            by_agent=request.by_agent,
            of_boot_vcpus=request.hotpluggable_boot_vcpus,
            of_maximum=request.maximum is not None,
        )
        self.plan: Plan | None = None

    async def prepare(self) -> None:
        """Observe the guest and plan; ``plan`` stays None if that failed."""
        with self._errors_in_result():
            self._ports = await self._source.open()
            self.result.warnings = self._ports.warnings
            seen = await observe(self._ports, self._need)
            self.result.before = self.result.after = seen
            plan, seen = await _plan(self._ports, self._request, self._need, seen)
            self.result.before = self.result.after = seen
            check_guards(plan, seen.state, self._request.guards)
            if CONFIG in plan.reached and plan.changes:
                _check_config(self._ports, seen, plan, self._request)
            if LIVE in plan.reached:
                for warning in placement_warnings(seen.state, self._request.cputune):
                    self._ports.warn(warning)
            steps = (step for step in plan.steps if step.kind in (PLUG, UNPLUG))
            self._ports.warn(unsettled_unplugs(seen.state, [vcpu for step in steps for vcpu in step.entity.vcpus]))
            self.plan = plan

    async def finish(self) -> None:
        """Apply the plan, or predict its result in check mode; without a plan do nothing."""
        if self.plan is None or not self.plan.changes or self._ports is None:
            return
        with self._errors_in_result():
            await self._carry_out(self._ports, self.plan)
        if self.result.error is not None and not isinstance(self.result.error, InternalError):
            with self._errors_in_result():
                await self._observe_reached_state(self._ports)

    def refuse(self, error: HotplugError) -> None:
        """End the run before anything is changed."""
        self.plan = None
        self.result.error = error

    async def interrupt(self, error: Interrupted) -> None:
        """End a run that was cancelled while it changed the guest, and observe the reached state, for a short time."""
        self.refuse(error)
        journal = self.result.journal
        if journal is None or self._ports is None:
            return
        journal.interrupt(error.code, f"interrupted by signal {error.signal}")
        journal.skip_the_rest()
        with self._errors_in_result(), contextlib.suppress(asyncio.TimeoutError):
            await within(OBSERVING_SECONDS, self._observe_reached_state(self._ports))

    async def close(self) -> None:
        """Close the guest's ports; never raises."""
        if self._ports is not None:
            await self._ports.close()

    @contextlib.contextmanager
    def _errors_in_result(self) -> Iterator[None]:
        """The only place where an exception of a guest becomes its error; the first error is kept."""
        try:
            yield
        except HotplugError as error:
            self.result.error = self.result.error or error
        except Exception as error:  # noqa: BLE001 - a defect in the run of one guest must not affect the others
            self.result.error = self.result.error or InternalError(error)

    async def _carry_out(self, ports: Ports, plan: Plan) -> None:
        # Most runs of a playbook have no steps: modules that only a change needs are imported only here.
        from ansible_collections.kvm.hotplug.plugins.module_utils.run.apply import carry_out
        from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Journal

        before = self.result.before
        if before is None:
            raise RuntimeError("a plan was made without an observation")
        if before.state.live is not None:
            _warn_of_risks(before.state.live, plan, self.result.warnings)
        if any(step.kind == PLUG for step in plan.steps) and self._request.onlines_plugged:
            _check_unverifiable(self._request, before.state, self.result)
        self.result.journal = Journal(plan.steps)
        # The state is unknown until it is observed again: a defect in between must not report the old one.
        self.result.after = None
        if await carry_out(self.result.journal, ports, before.state, self._request):
            written = any(step.target == CONFIG for step in plan.steps)
            self.result.after = await observe_again(ports, self._need, before, written)
            await self._compare_with_desired_state(ports, self.result.after)
        else:
            self.result.is_prediction = True
            self.result.after = before._replace(state=predict(before.state, plan), destination_args=())

    async def _compare_with_desired_state(self, ports: Ports, after: Observation) -> None:
        """Warn of changes by another run or a person during this run, which this run has not undone."""
        try:
            left = (await _make_plan(ports, self._request, after.state)).steps
        except HotplugError as error:
            self.result.warnings.append(f"the guest was changed by something else during this run: {error.msg}")
            return
        if left:
            ids = format_cpulist(vcpu for step in left for vcpu in step.entity.vcpus)
            self.result.warnings.append(
                f"vCPU {ids} was changed by something else during this run, so the guest is not in the desired state: "
                "run the task again, and let only one task at a time change a guest"
            )

    async def _observe_reached_state(self, ports: Ports) -> None:
        """After a failure, observe once more, so that the report contains the reached state."""
        journal = self.result.journal
        if journal is None:
            return
        self.result.after = None
        # If this fails too, the state stays unknown, and the first error is reported.
        self.result.after = await self._observe_anew(ports)
        journal.learn(self.result.after.state)

    async def _observe_anew(self, ports: Ports) -> Observation:
        try:
            return await observe(ports, self._need)
        except HotplugError as error:
            if error.code not in (CONNECTION_LOST, GUEST_NOT_RUNNING):
                raise
        await ports.close()
        return (await inspect(self._source))[0]


async def _plan(ports: Ports, request: Request, need: Need, seen: Observation) -> tuple[Plan, Observation]:
    """Plan; if the request needs a vCPU whose unplug is in progress, first wait for its end."""
    try:
        return await _make_plan(ports, request, seen.state), seen
    except StillEjecting as leaving:
        if ports.machine is None:
            raise
        await ports.machine.settle(leaving.entities, request.timeout)
        seen = await observe(ports, need)
        return await _make_plan(ports, request, seen.state), seen


async def _make_plan(ports: Ports, request: Request, state: GuestState) -> Plan:
    """Plan with the layout of the next boot that the request leads to."""
    resized = None
    maximum, config = request.maximum, ports.config if state.config is not None else None
    if maximum is not None and config is not None and maximum.vcpus != state.layout_of(CONFIG).max_vcpus:
        resized = await config.resized(maximum)
    return make_plan(request, state, resized)


def _warn_of_risks(live: LiveState, plan: Plan, warnings: list[str]) -> None:
    """Name changes that cannot be undone before the guest's next boot, and forced ones."""
    for step in plan.steps:
        blocker = live.unsafe_plugs.get(step.entity.index) if step.target == LIVE else None
        if blocker is None or step.kind == PLACE:
            continue
        vcpus = format_cpulist(step.entity.vcpus)
        if step.kind.adds:
            warnings.append(f"vCPU {vcpus} is plugged because of force, which may end the guest: {blocker.reason}")
        else:
            warnings.append(f"vCPU {vcpus} may not be plugged again before the next start of QEMU: {blocker.reason}")


def _check_unverifiable(request: Request, state: GuestState, result: Convergence) -> None:
    """Check that an agent can show that the guest OS runs on a new vCPU. Raises ``HotplugError`` for ``verify``."""
    must = request.guest_online == "verify"
    if state.live is not None and not state.live.running:
        if must:
            raise HotplugError(
                GUEST_NOT_READY,
                f"the guest is {state.facts.state}, so it cannot be verified that it uses new vCPUs: resume it, "
                "or use guest_online: ensure or ignore",
            )
        result.warnings.append(f"the guest is {state.facts.state}: it detects the new vCPUs when it runs")
    elif state.online is None:
        if must:
            raise HotplugError(
                AGENT_UNAVAILABLE,
                "guest_online is verify, but without a guest agent it cannot be verified that the guest uses new "
                "vCPUs: set agent_socket (or give the libvirt guest a channel) and start qemu-guest-agent in the "
                "guest, or use guest_online: ensure or ignore",
            )
        result.is_unverified = request.warns_of_missing_agent


def _check_config(ports: Ports, seen: Observation, plan: Plan, request: Request) -> None:
    """Refuse a state that libvirt or QEMU would only refuse at the next boot."""
    if ports.config is None:
        return
    hotpluggable = made_hotpluggable(plan.steps)
    if plan.next_boot is None:
        ports.config.check(plan.reached[CONFIG], seen.state.layout_of(CONFIG), hotpluggable)
    else:
        ports.config.check(plan.reached[CONFIG], None, hotpluggable, request.maximum)
