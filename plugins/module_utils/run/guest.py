# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run of one guest: observe, plan, apply, observe again. Independent of Ansible and QEMU.

Most runs of a playbook have nothing to do, and Python compiles what a task imports: what only a change needs is
imported in the functions that begin one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, InternalError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import LIVE, PLUG, UNPLUG
from ansible_collections.kvm.hotplug.plugins.module_utils.run.convergence import Convergence
from ansible_collections.kvm.hotplug.plugins.module_utils.run.interruption import OBSERVING_SECONDS, Interrupted
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Need, observe, unsettled_unplugs
from ansible_collections.kvm.hotplug.plugins.module_utils.run.planning import plan_settled
from ansible_collections.kvm.hotplug.plugins.module_utils.timeouts import within

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.planner.plan import Plan
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports, Source
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.change import Change


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
            plan, seen = await plan_settled(self._ports, self._request, self._need, seen)
            self.result.before = self.result.after = seen
            if plan.changes:
                from ansible_collections.kvm.hotplug.plugins.module_utils.run.checks import check_changes

                check_changes(self._ports, seen, plan, self._request)
            if LIVE in plan.reached and seen.state.tuning is not None:
                from ansible_collections.kvm.hotplug.plugins.module_utils.planner.placement import placement_warnings

                for warning in placement_warnings(seen.state, self._request.cputune):
                    self._ports.warn(warning)
            steps = (step for step in plan.steps if step.kind in (PLUG, UNPLUG))
            self._ports.warn(unsettled_unplugs(seen.state, [vcpu for step in steps for vcpu in step.vcpus]))
            self.plan = plan

    async def finish(self) -> None:
        """Apply the plan, or predict its result in check mode; without a plan do nothing."""
        if self.plan is None or not self.plan.changes or self._ports is None:
            return
        with self._errors_in_result():
            await self._change(self._ports).carry_out(self.plan)
        if self.result.error is not None and not isinstance(self.result.error, InternalError):
            with self._errors_in_result():
                await self._change(self._ports).observe_reached_state()

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
            await within(OBSERVING_SECONDS, self._change(self._ports).observe_reached_state())

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

    def _change(self, ports: Ports) -> Change:
        from ansible_collections.kvm.hotplug.plugins.module_utils.run.change import Change

        return Change(self._source, ports, self._request, self._need, self.result)
