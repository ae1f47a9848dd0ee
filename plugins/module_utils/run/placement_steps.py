# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that place the threads of vCPUs; only ``live_steps`` calls them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import PLACEMENT_FAILED, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import NOWHERE, Placement, differences
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.placement import APPLY, repair_of
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, StepOutcome
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import ThreadsView, VcpuThreads

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestState
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Entry

_NOT_FOUND = (
    "its thread was not found: it has ended, or other vCPUs share it (TCG with thread=single); run the task again, or "
    "use cputune: ignore"
)
_OTHERWISE = "place it by other means (taskset, chrt), or use cputune: ignore"


class PlacementSteps:
    """One run's placements; ``state`` is the state observed before them, with what is requested."""

    def __init__(self, ports: Ports, state: GuestState, cputune: str) -> None:
        self._ports = ports
        self._state = state
        self._cputune = cputune

    async def place(self, entries: Sequence[Entry], again: bool) -> None:
        """Place the threads of these vCPUs, and record the outcome by where the kernel has them afterwards.

        ``again``: they were enabled before this run, and as much is requested as can be set of such a vCPU.
        """
        requested = {vcpu: self._requested(vcpu, again) for entry in entries for vcpu in entry.step.vcpus}
        before = await self._observe()
        problems = await self._place_all(before, requested)
        after = await self._observe()
        for vcpu, wanted in requested.items():
            left = differences(wanted, after.placements.get(vcpu, NOWHERE), after.host_cpus)
            if left:
                problems.setdefault(vcpu, f"{', '.join(left)}; {self._remedy}")
        for entry in entries:
            entry.end(_outcome(entry.step.vcpus, before, after, problems))

    async def release(self, vcpus: Collection[int]) -> None:
        """Remove what was created on the host for the bandwidth of vCPUs that were unplugged."""
        placer, tuning = self._ports.placer, self._state.tuning
        if self._cputune != APPLY or placer is None or tuning is None:
            return
        for vcpu in vcpus:
            if tuning.placements.get(vcpu, NOWHERE).bandwidth is not None:
                await placer.release(vcpu, self._threads)

    async def _place_all(self, before: ThreadsView, requested: Mapping[int, Placement]) -> dict[int, str]:
        """Place those that differ; return why vCPUs could not be placed, by id."""
        placer, threads = self._ports.placer, self._threads
        problems: dict[int, str] = {}
        for vcpu, wanted in requested.items():
            found = before.placements.get(vcpu)
            if found is None:
                problems[vcpu] = _NOT_FOUND
            elif self._cputune == APPLY and placer is not None and not _is_placed(wanted, found, before):
                try:
                    await placer.place(vcpu, threads, wanted)
                except HotplugError as error:
                    if error.code != PLACEMENT_FAILED:
                        raise
                    problems[vcpu] = error.msg
        return problems

    def _requested(self, vcpu: int, again: bool) -> Placement:
        tuning = self._state.tuning
        if tuning is None:
            raise RuntimeError("a placement was planned for a guest without any requested placement")
        return repair_of(self._state, vcpu) if again else tuning.placements[vcpu]

    @property
    def _remedy(self) -> str:
        live = self._state.live
        if self._cputune == APPLY and live is not None and live.tuning is not None:
            return f"libvirt cannot set it again while the guest runs: plug the vCPU again, or {_OTHERWISE}"
        return _OTHERWISE

    @property
    def _threads(self) -> VcpuThreads:
        if self._ports.machine is None:
            raise RuntimeError("a placement was planned for a guest without a machine")
        return self._ports.machine.latest().threads

    async def _observe(self) -> ThreadsView:
        return ThreadsView() if self._ports.threads is None else await self._ports.threads.observe(self._threads)


def _is_placed(requested: Placement, found: Placement, view: ThreadsView) -> bool:
    return requested.is_known_in(found) and not differences(requested, found, view.host_cpus)


def _outcome(
    vcpus: Collection[int], before: ThreadsView, after: ThreadsView, problems: Mapping[int, str]
) -> StepOutcome:
    changed = any(before.placements.get(vcpu) != after.placements.get(vcpu) for vcpu in vcpus)
    found = [problems[vcpu] for vcpu in vcpus if vcpu in problems]
    if found:
        return StepOutcome(FAILED, took_effect=changed, detail="; ".join(found), code=PLACEMENT_FAILED)
    return StepOutcome(DONE, took_effect=changed)
