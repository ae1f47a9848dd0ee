# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the hosts of planned guests against ``max_overcommit``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import LIVE
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.capacity import overcommitted

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.host import InspectHost
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import GuestRef
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.guest import Run


class Planned(Protocol):
    """A guest whose run is prepared."""

    ref: GuestRef
    run: Run


async def check_hosts(jobs: Sequence[Planned], most: float, refuse: bool, inspect_host: InspectHost) -> list[str]:
    """Return warnings about hosts that would have too many enabled vCPUs, or refuse the jobs that would add to them."""
    warnings: list[str] = []
    for name in sorted({job.ref.host for job in jobs}):
        here = [job for job in jobs if job.ref.host == name and job.run.plan is not None]
        growing = [job for job in here if _grows(job)]
        if not growing:
            continue
        problem = overcommitted(await inspect_host(name), [_load(job) for job in here], most)
        if problem and not refuse:
            warnings.append(problem)
        elif problem:
            for job in growing:
                job.run.refuse(HotplugError(CONFLICTING_REQUEST, problem))
    return warnings


def _load(job: Planned) -> tuple[str | None, int]:
    """The guest's UUID, and the number of its enabled vCPUs after the plan."""
    before = job.run.result.before
    if before is None or before.state.live is None:
        return None, 0
    enabled = before.state.live.enabled
    if job.run.plan is not None:
        enabled = job.run.plan.reached.get(LIVE, enabled)
    return before.state.facts.uuid, len(enabled)


def _grows(job: Planned) -> bool:
    """Whether the guest has more enabled vCPUs after the plan than before."""
    before = job.run.result.before
    live = None if before is None else before.state.live
    return _load(job)[1] > (0 if live is None else len(live.enabled))
