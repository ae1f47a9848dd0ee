# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many guests brought to their wishes in one run: so many at a time, each by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    INTERNAL,
    HotplugError,
    printable,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import LIVE
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.capacity import overcommitted
from ansible_collections.kvm.hotplug.plugins.module_utils.run.concurrency import for_each
from ansible_collections.kvm.hotplug.plugins.module_utils.run.guest import Convergence, Run

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Source
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.host import InspectHost
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.batch import Limits
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request


@dataclass
class Job:
    """One guest and what is wanted of it. ``host`` is where it runs; ``skipped`` after another's failure.

    ``unique_uuid``: no other guest of that host can have its UUID, for libvirt sees to that.
    """

    label: str
    source: Source
    request: Request
    host: str = ""
    unique_uuid: bool = False
    result: Convergence = field(default_factory=Convergence)
    skipped: bool = False


async def converge_all(jobs: Sequence[Job], limits: Limits, inspect_host: InspectHost) -> list[str]:
    """Bring each guest to its wish; what came of it is in the jobs. Return warnings that concern no single guest.

    Where the hosts' capacity counts, all is planned before the first step is taken. ``inspect_host`` raises
    ``HotplugError``.
    """
    runs = [Run(job.source, job.request, job.result) for job in jobs]
    failed = asyncio.Event()
    labels: dict[tuple[str, str], str] = {}

    async def prepared(number: int) -> None:
        if limits.fail_fast and failed.is_set():
            jobs[number].skipped = True
            return
        await _guarded(jobs[number], runs[number].prepare)
        _refuse_duplicates(jobs[number], runs[number], labels)
        if jobs[number].result.error is not None:
            failed.set()

    async def finished(number: int) -> None:
        if limits.fail_fast and failed.is_set():
            jobs[number].skipped = jobs[number].result.error is None
            return
        await _guarded(jobs[number], runs[number].finish)
        if jobs[number].result.error is not None:
            failed.set()

    async def at_once(number: int) -> None:
        await prepared(number)
        if not jobs[number].skipped:
            await finished(number)
        await runs[number].close()

    numbers = range(len(jobs))
    if limits.max_overcommit is None:
        await for_each(numbers, at_once, limits.concurrency)
        return []
    try:
        await for_each(numbers, prepared, limits.concurrency)
        warnings = await _judge_hosts(jobs, runs, limits, inspect_host)
        await for_each(numbers, finished, limits.concurrency)
    finally:
        for run in runs:
            await run.close()
    return warnings


async def _guarded(job: Job, phase: Callable[[], Awaitable[None]]) -> None:
    """A defect that shows with one guest is that guest's error, and the others go on."""
    try:
        await phase()
    except Exception as error:  # noqa: BLE001 - it is reported with all else that came of the guest
        job.result.error = HotplugError(
            INTERNAL, f"an error in kvm.hotplug itself, please report it: {type(error).__name__}: {printable(error)}"
        )


def _refuse_duplicates(job: Job, run: Run, labels: dict[tuple[str, str], str]) -> None:
    """Let only the first of two names of a guest have its wish: two runs would undo one another's work."""
    before = job.result.before
    uuid = None if before is None else before.state.facts.uuid
    if not job.unique_uuid or uuid is None:
        return
    label = labels.setdefault((job.host, uuid), job.label)
    if label != job.label:
        run.plan = None
        job.result.error = HotplugError(
            CONFLICTING_REQUEST, f"{job.label} and {label} are both the guest {uuid}: name each guest once"
        )


async def _judge_hosts(
    jobs: Sequence[Job], runs: Sequence[Run], limits: Limits, inspect_host: InspectHost
) -> list[str]:
    """Warn of hosts that would get too full, or refuse all that would add to that."""
    warnings: list[str] = []
    for name in sorted({job.host for job in jobs}):
        here = [(job, run) for job, run in zip(jobs, runs) if job.host == name and run.plan is not None]
        growing = [(job, run) for job, run in here if _growth(run) > 0]
        if not growing or limits.max_overcommit is None:
            continue
        host = await inspect_host(name)
        problem = overcommitted(host, [_load(run) for _job, run in here], limits.max_overcommit)
        if not problem:
            continue
        if not limits.refuse_overcommit:
            warnings.append(problem)
            continue
        for job, run in growing:
            run.plan = None
            job.result.error = HotplugError(CONFLICTING_REQUEST, problem)
    return warnings


def _load(run: Run) -> tuple[str | None, int]:
    """The guest's UUID, and how many vCPUs it has enabled when the plan is carried out."""
    before = run.result.before
    if before is None or before.state.live is None:
        return None, 0
    enabled = before.state.live.enabled
    if run.plan is not None:
        enabled = run.plan.reached.get(LIVE, enabled)
    return before.state.facts.uuid, len(enabled)


def _growth(run: Run) -> int:
    before = run.result.before
    live = None if before is None else before.state.live
    return _load(run)[1] - (len(live.enabled) if live is not None else 0)
