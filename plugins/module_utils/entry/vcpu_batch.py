# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ``kvm.hotplug.vcpu_batch``: many guests, from their options to their results."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import Connections, connections, source_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.discover import host_inspector, host_of
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import Edge, GuestModule, warn
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.report.results import batch_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request.batch import label_of, limits_of, options_of_guests
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import parse_request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.batch import Job, converge_all


def run_vcpu_batch(module: GuestModule) -> None:
    """Do what ``kvm.hotplug.vcpu_batch`` is asked for."""
    jobs: list[Job] = []
    with Edge(module, lambda: batch_report(jobs)):
        limits = limits_of(module.params)
        options = options_of_guests(module.params["guests"], module.params["defaults"])

        async def work() -> list[str]:
            async with connections() as kept:
                for params in options:
                    jobs.append(_job(module, params, kept))
                return await converge_all(jobs, limits, host_inspector(options, kept))

        warn(module, asyncio.run(work()))
        failed = [job for job in jobs if job.result.error is not None]
        if failed:
            raise _failure(failed, len(jobs))
        module.exit_json(**batch_report(jobs))


def _job(module: GuestModule, params: Mapping[str, Any], kept: Connections) -> Job:
    return Job(
        label_of(params),
        source_of(params, kept),
        parse_request(params, module.check_mode),
        host_of(params),
        unique_uuid=params["name"] is not None,
    )


def _failure(failed: Sequence[Job], count: int) -> HotplugError:
    """The batch's own error, with the code of the first guest that failed."""
    told = [(job.label, job.result.error.code) for job in failed if job.result.error is not None]
    names = ", ".join(f"{label} ({code})" for label, code in told[:10])
    more = f" and {len(told) - 10} more" if len(told) > 10 else ""
    return HotplugError(
        told[0][1],
        f"{len(told)} of {count} guests failed: {names}{more}; each one's msg in guests says why and what to do",
    )
