# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ``kvm.hotplug.vcpu_batch``: many guests, from their options to their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import Connections, connections
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.hosts import host_inspector
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import writer_of
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import GuestModule, failing, warn
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.signals import run_until_signal
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, MissingLibrary
from ansible_collections.kvm.hotplug.plugins.module_utils.report.batch import batch_failure, batch_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request.batch import options_of_guests
from ansible_collections.kvm.hotplug.plugins.module_utils.request.limits import limits_of
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request, parse_request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.batch import Job, converge_all
from ansible_collections.kvm.hotplug.plugins.module_utils.run.convergence import UNVERIFIED

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.batch import GuestOptions
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.interruption import Interrupted, Interruption


def run_vcpu_batch(module: GuestModule) -> None:
    """Run the module ``kvm.hotplug.vcpu_batch`` and end it with its results."""
    with failing(module):
        jobs, warnings, interrupted = run_until_signal(lambda interruption: _run(module, interruption))
    report = batch_report(jobs, module.params["details"])
    unverified = [job.ref.label for job in jobs if job.result.is_unverified]
    if unverified:
        warnings.append(f"{_listed(unverified)}: {UNVERIFIED}")
    warn(module, warnings)
    failure = batch_failure(jobs)
    if failure is not None:
        module.fail_with(failure, report)
    if interrupted is not None and any(job.skipped for job in jobs):
        module.fail_with(interrupted, report)
    module.exit_json(**report)


async def _run(module: GuestModule, interruption: Interruption) -> tuple[list[Job], list[str], Interrupted | None]:
    limits = limits_of(module.params)
    options = options_of_guests(module.params["guests"], module.params["defaults"])
    async with connections() as kept:
        jobs = [_job(guest, kept, module.check_mode) for guest in options]
        inspect_host = host_inspector([guest.params for guest in options if guest.error is None], kept)
        warnings = await converge_all(jobs, limits, inspect_host, interruption)
    return jobs, warnings, interruption.error


class _Invalid(NamedTuple):
    """The source of a guest whose options are invalid: the guest fails when its turn comes, as any other may."""

    error: HotplugError

    async def open(self) -> Ports:
        raise self.error


def _job(guest: GuestOptions, kept: Connections, check_mode: bool) -> Job:
    error = guest.error
    if error is None:
        try:
            return Job(guest.ref, writer_of(guest.params, kept, check_mode), parse_request(guest.params, check_mode))
        except MissingLibrary:
            raise
        except HotplugError as refusal:
            error = refusal
    return Job(guest.ref, _Invalid(error), Request(None, check_mode=check_mode))


def _listed(labels: Sequence[str]) -> str:
    """The first ten labels, and the number of further ones."""
    more = f" and {len(labels) - 10} more" if len(labels) > 10 else ""
    return ", ".join(labels[:10]) + more
