# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one guest or many, a limited number at a time; a failure of one guest does not affect the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import LIBVIRT, GuestRef
from ansible_collections.kvm.hotplug.plugins.module_utils.run.concurrency import each
from ansible_collections.kvm.hotplug.plugins.module_utils.run.guest import Run
from ansible_collections.kvm.hotplug.plugins.module_utils.run.interruption import Interrupted, completed

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Source
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.host import InspectHost
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.limits import Limits
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.convergence import Convergence
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.interruption import Interruption


@dataclass
class Job:
    """One guest and its request; ``skipped`` after another guest's failure, or a signal."""

    ref: GuestRef
    source: Source
    request: Request
    skipped: bool = False
    ended: bool = False

    def __post_init__(self) -> None:
        self.run = Run(self.source, self.request)

    @property
    def result(self) -> Convergence:
        return self.run.result


async def converge_all(
    jobs: Sequence[Job], limits: Limits, inspect_host: InspectHost, interruption: Interruption
) -> list[str]:
    """Bring each guest to its desired state; the jobs then have the results. Return warnings of the batch as a whole.

    If the hosts' capacity is limited, all guests are planned before the first step. ``inspect_host`` raises
    ``HotplugError``; a guest's failure is not raised. A signal ends the guests that are being changed, each with the
    state it has reached, and skips the others.
    """
    try:
        return await interruption.until(lambda: _converge_all(jobs, limits, inspect_host, interruption))
    except Interrupted:
        return []
    finally:
        for job in jobs:
            job.skipped = job.skipped or not (job.ended or job.result.error)


async def _converge_all(
    jobs: Sequence[Job], limits: Limits, inspect_host: InspectHost, interruption: Interruption
) -> list[str]:
    failed = asyncio.Event()
    seen: dict[tuple[str, ...], Job] = {}

    async def prepare(job: Job) -> None:
        if limits.fail_fast and failed.is_set():
            job.skipped = True
            return
        await job.run.prepare()
        _refuse_duplicate(job, seen)
        if job.result.error is not None:
            failed.set()

    async def finish(job: Job) -> None:
        if limits.fail_fast and failed.is_set():
            job.skipped = job.result.error is None
            return
        await job.run.finish()
        job.ended = True
        if job.result.error is not None:
            failed.set()

    async def prepare_and_finish(job: Job) -> None:
        try:
            await prepare(job)
            if not job.skipped:
                await finish(job)
        except asyncio.CancelledError:
            await _interrupt(job, interruption)
        finally:
            await completed(job.run.close())

    async def finish_prepared(job: Job) -> None:
        try:
            await finish(job)
        except asyncio.CancelledError:
            await _interrupt(job, interruption)

    async def close(job: Job) -> None:
        await job.run.close()

    if limits.max_overcommit is None:
        await each(jobs, prepare_and_finish, limits.concurrency)
        return []
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.overcommit import check_hosts

    try:
        await each(jobs, prepare, limits.concurrency)
        warnings = await check_hosts(jobs, limits.max_overcommit, limits.refuse_overcommit, inspect_host)
        await each(jobs, finish_prepared, limits.concurrency)
        return warnings
    finally:
        await completed(each(jobs, close, limits.concurrency))


async def _interrupt(job: Job, interruption: Interruption) -> None:
    if interruption.error is None:
        raise asyncio.CancelledError
    if job.result.journal is None:
        job.skipped = True
    else:
        await job.run.interrupt(interruption.error)


def _refuse_duplicate(job: Job, seen: dict[tuple[str, ...], Job]) -> None:
    """Refuse the second of two names of one guest, because two runs could undo each other's changes."""
    for identity in _identities(job):
        first = seen.setdefault(identity, job)
        if first is not job:
            job.run.refuse(
                HotplugError(
                    CONFLICTING_REQUEST,
                    f"{job.ref.described} and {first.ref.described} are the same guest: name each guest once",
                )
            )
            return


def _identities(job: Job) -> list[tuple[str, ...]]:
    """What identifies a guest: on a libvirt host its UUID; on this host the threads of its vCPUs, with name and UUID.

    Threads alone are not sufficient, because a QEMU in a container has its own thread ids.
    """
    before = job.result.before
    if before is None:
        return []
    facts, live = before.state.facts, before.state.live
    found: list[tuple[str, ...]] = []
    if job.ref.backend == LIBVIRT and facts.uuid is not None:
        found.append(("uuid", job.ref.host, facts.uuid))
    if live is not None and live.thread_ids and not job.ref.host:
        threads = ",".join(f"{vcpu}:{thread}" for vcpu, thread in sorted(live.thread_ids.items()))
        found.append(("threads", facts.name or "", facts.uuid or "", threads))
    return found
