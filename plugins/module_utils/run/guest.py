# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest from options to report: observe, plan, apply, observe again. Knows neither Ansible nor QEMU."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    AGENT_UNAVAILABLE,
    CONNECTION_LOST,
    GUEST_NOT_READY,
    GUEST_NOT_RUNNING,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    CONFIG,
    PLUG,
    GuestState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.guards import check_guards
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import AgentUse, Plan, StillEjecting, make_plan
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.prediction import predict
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import (
    Need,
    Observation,
    inspect,
    observe,
    observe_again,
)

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports, Source
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.apply import How
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Journal


UDEV_RULE = (
    "this udev rule has Linux use every vCPU that is plugged: "
    'SUBSYSTEM=="cpu", ACTION=="add", TEST=="online", ATTR{online}=="0", ATTR{online}="1"'
)


@dataclass
class Convergence:
    """What came of a request; ``after`` is the predicted state in check mode.

    ``journal`` is None when there was nothing to do. After a failure ``error`` is set, and what could not be
    observed is None.
    """

    before: Observation | None = None
    after: Observation | None = None
    journal: Journal | None = None
    is_prediction: bool = False
    by_agent: bool = False
    warnings: list[str] = field(default_factory=list)
    error: HotplugError | None = None

    @property
    def changed(self) -> bool:
        """Whether the guest is another now; in check mode, whether it would be."""
        return self.journal is not None and (self.is_prediction or self.journal.changed)


class Run:
    """One guest on its way to the wish: ``prepare`` looks and plans, ``finish`` carries that out, ``close`` lets go.

    What came of it is in ``result``, a ``HotplugError`` included; neither is raised. Whatever else is raised is a
    defect, and ``result`` then says what had been done by then.
    """

    def __init__(self, source: Source, request: Request, result: Convergence) -> None:
        self._source = source
        self._request = request
        self._ports: Ports | None = None
        self.result = result
        self.plan: Plan | None = None

    async def prepare(self) -> None:
        """Observe the guest and plan; ``plan`` stays None where that failed."""
        self.result.by_agent = self._request.by_agent
        try:
            self._ports = await self._source.open(reading=self._request.check_mode)
            self.result.warnings = self._ports.warnings
            seen = await observe(self._ports, _need(self._request))
            self.result.before = self.result.after = seen
            plan, seen = await _plan(self._ports, self._request, seen)
            self.result.before = self.result.after = seen
            check_guards(plan, seen.state, self._request.guards)
            if CONFIG in plan.reached and plan.changes:
                _check_config(self._ports, seen, plan)
        except HotplugError as error:
            self.result.error = error
        else:
            self.plan = plan

    async def finish(self) -> None:
        """Carry the plan out, or predict it in check mode; nothing where there is none."""
        if self.plan is None or not self.plan.changes or self._ports is None:
            return
        try:
            await self._carry_out(self._ports, self.plan)
        except HotplugError as error:
            self.result.error = error
            await self._see_what_was_reached(self._ports)

    async def close(self) -> None:
        """Let go of the guest; never raises."""
        if self._ports is not None:
            await self._ports.close()

    async def _carry_out(self, ports: Ports, plan: Plan) -> None:
        # Most runs of a playbook have nothing to do: what only a change needs is imported only here.
        from ansible_collections.kvm.hotplug.plugins.module_utils.run.apply import carry_out
        from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Journal

        before = self.result.before
        if before is None:
            return
        how = _how(self._request, before.state, plan, self.result.warnings)
        self.result.journal = Journal(plan.steps)
        predicted = before._replace(state=predict(before.state, plan), destination_args=())
        # Until it is known again, the state is unknown: a defect in between must not report the old one.
        self.result.after = None
        if await carry_out(self.result.journal, ports, before.state, how):
            written = any(step.target == CONFIG for step in plan.steps)
            self.result.after = await observe_again(ports, _need(self._request), before, written)
        else:
            self.result.is_prediction = True
            self.result.after = predicted

    async def _see_what_was_reached(self, ports: Ports) -> None:
        """After a failure, look once more: the report says what is, not what was hoped for."""
        journal = self.result.journal
        if journal is None:
            return
        self.result.after = None
        try:
            self.result.after = await self._look_again(ports)
        except HotplugError:
            # The first error is the one to report; the state stays unknown.
            return
        journal.learn(self.result.after.state)

    async def _look_again(self, ports: Ports) -> Observation:
        try:
            return await observe(ports, _need(self._request))
        except HotplugError as error:
            if error.code not in (CONNECTION_LOST, GUEST_NOT_RUNNING):
                raise
        await ports.close()
        return (await inspect(self._source))[0]


async def converge(source: Source, request: Request, result: Convergence) -> None:
    """Bring a guest to the wish and put what came of it into ``result``, a ``HotplugError`` included.

    Whatever else is raised is a defect; ``result`` then says what had been done by then.
    """
    run = Run(source, request, result)
    try:
        await run.prepare()
        await run.finish()
    finally:
        await run.close()


async def _plan(ports: Ports, request: Request, seen: Observation) -> tuple[Plan, Observation]:
    """Plan; when the wish needs what the guest is just giving up, wait for the end of that first."""
    agent = AgentUse(only=request.by_agent, online=request.guest_online != "ignore", drain=request.drain)
    try:
        return make_plan(request.wish, seen.state, request.scope, request.whole_cores, agent), seen
    except StillEjecting as leaving:
        if ports.machine is None:
            raise
        await ports.machine.settle(leaving.entities, request.timeout)
        seen = await observe(ports, _need(request))
        return make_plan(request.wish, seen.state, request.scope, request.whole_cores, agent), seen


def _need(request: Request) -> Need:
    return Need(config=request.scope in ("all", "config") and not request.by_agent, agent=request.by_agent)


def _how(request: Request, state: GuestState, plan: Plan, warnings: list[str]) -> How:
    """Decide what of the guest can be waited for; a guest that does not run acknowledges nothing."""
    live = state.live
    answers = live is not None and live.running and live.acknowledges
    if any(step.kind == PLUG for step in plan.steps) and request.guest_online != "ignore":
        _say_what_cannot_be_proven(request, state, warnings)
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.apply import How

    return How(
        check_mode=request.check_mode,
        await_guest=answers and request.guest_online != "ignore",
        timeout=request.timeout,
        rollback=request.rollback,
    )


def _say_what_cannot_be_proven(request: Request, state: GuestState, warnings: list[str]) -> None:
    """That the guest's system runs on a new vCPU, only its agent can show. Raises ``HotplugError`` for ``verify``."""
    must = request.guest_online == "verify"
    if state.live is not None and not state.live.running:
        if must:
            raise HotplugError(
                GUEST_NOT_READY,
                f"the guest is {state.facts.state}, so it cannot show that it uses new vCPUs: resume it, "
                "or use guest_online: ensure or ignore",
            )
        warnings.append(f"the guest is {state.facts.state}: it sees the new vCPUs when it runs")
    elif state.online is None:
        if must:
            raise HotplugError(
                AGENT_UNAVAILABLE,
                "guest_online is verify, but there is no guest agent to tell whether the guest uses new vCPUs: name "
                "agent_socket (or give the libvirt guest a channel) and start qemu-guest-agent in the guest, or use "
                "guest_online: ensure or ignore",
            )
        warnings.append(
            f"without its agent nobody tells whether the guest uses the new vCPUs; in the guest, {UDEV_RULE}"
        )


def _check_config(ports: Ports, seen: Observation, plan: Plan) -> None:
    """Refuse now what libvirt or QEMU would only refuse at the next boot."""
    if ports.config is not None:
        ports.config.check(plan.reached[CONFIG], seen.state.layout)
