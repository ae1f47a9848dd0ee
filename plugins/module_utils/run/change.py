# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The change of one guest: apply its plan, or predict the result, and observe the guest again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    AGENT_UNAVAILABLE,
    CONNECTION_LOST,
    GUEST_NOT_READY,
    GUEST_NOT_RUNNING,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import CONFIG, LIVE, PLUG
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.prediction import predict
from ansible_collections.kvm.hotplug.plugins.module_utils.run.apply import carry_out
from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import AWAITED, Journal
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import inspect, observe, observe_again
from ansible_collections.kvm.hotplug.plugins.module_utils.run.planning import plan_for

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestState, LiveState
    from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports, Source
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.convergence import Convergence
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Need, Observation


class Change:
    """The change of the guest whose ``ports`` are open; its outcome is in ``result``, which has the state before."""

    def __init__(self, source: Source, ports: Ports, request: Request, need: Need, result: Convergence) -> None:
        self._source = source
        self._ports = ports
        self._request = request
        self._need = need
        self._result = result

    async def carry_out(self, plan: Plan) -> None:
        """Apply the plan, or predict its result in check mode. Raises ``HotplugError``."""
        ports = self._ports
        before = self._result.before
        if before is None:
            raise RuntimeError("a plan was made without an observation")
        if before.state.live is not None:
            _warn_of_risks(before.state.live, plan, self._result.warnings)
        if any(step.kind == PLUG for step in plan.steps) and self._request.onlines_plugged:
            _check_unverifiable(self._request, before.state, self._result)
        self._result.journal = Journal(plan.steps)
        # The state is unknown until it is observed again: a defect in between must not report the old one.
        self._result.after = None
        if await carry_out(self._result.journal, ports, before.state, self._request):
            written = any(step.target == CONFIG for step in plan.steps)
            self._result.after = await observe_again(ports, self._need, before, written)
            await self._compare_with_desired_state(self._result.after)
        else:
            self._result.is_prediction = True
            self._result.after = before._replace(state=predict(before.state, plan), destination_args=())

    async def _compare_with_desired_state(self, after: Observation) -> None:
        """Warn of changes by another run or a person during this run, which this run has not undone."""
        try:
            left = (await plan_for(self._ports, self._request, after.state)).steps
        except HotplugError as error:
            self._result.warnings.append(f"the guest was changed by something else during this run: {error.msg}")
            return
        if left:
            ids = format_cpulist(vcpu for step in left for vcpu in step.vcpus)
            self._result.warnings.append(
                f"vCPU {ids} was changed by something else during this run, so the guest is not in the desired state: "
                "run the task again, and let only one task at a time change a guest"
            )

    async def observe_reached_state(self) -> None:
        """After a failure, observe once more, so that the report contains the reached state."""
        journal = self._result.journal
        if journal is None:
            return
        self._result.after = None
        # If this fails too, the state stays unknown, and the first error is reported.
        self._result.after = await self._observe_anew()
        journal.learn(self._result.after.state)
        error, failure = self._result.error, journal.first_failure
        if error is not None and error.code in AWAITED and failure is not None and failure.code == GUEST_NOT_RUNNING:
            self._result.error = HotplugError(
                GUEST_NOT_RUNNING, f"could not {failure.step.kind.name} vCPU {failure.vcpus}: {failure.detail}"
            )

    async def _observe_anew(self) -> Observation:
        try:
            return await observe(self._ports, self._need)
        except HotplugError as error:
            if error.code not in (CONNECTION_LOST, GUEST_NOT_RUNNING):
                raise
        await self._ports.close()
        return (await inspect(self._source))[0]


def _warn_of_risks(live: LiveState, plan: Plan, warnings: list[str]) -> None:
    """Name changes that cannot be undone before the guest's next boot, and forced ones."""
    for step in plan.steps:
        blocker = live.unsafe_plugs.get(step.entity.index) if step.target == LIVE else None
        if blocker is None or step.kind.adds is None:
            continue
        vcpus = format_cpulist(step.vcpus)
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
