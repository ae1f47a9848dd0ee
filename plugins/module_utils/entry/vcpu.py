# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ``kvm.hotplug.vcpu``: one guest, run as a batch of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import connections
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.hosts import host_inspector
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import writer_of
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import GuestModule, failing, warn
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.signals import run_until_signal
from ansible_collections.kvm.hotplug.plugins.module_utils.report.results import convergence_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import guest_ref
from ansible_collections.kvm.hotplug.plugins.module_utils.request.limits import limits_of
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import parse_request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.batch import Job, converge_all
from ansible_collections.kvm.hotplug.plugins.module_utils.run.convergence import UNVERIFIED

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.interruption import Interruption


def run_vcpu(module: GuestModule) -> None:
    """Run the module ``kvm.hotplug.vcpu`` and end it with its results."""
    with failing(module):
        job, warnings = run_until_signal(lambda interruption: _run(module, interruption))
    report = convergence_report(job.result, module.params["details"])
    warn(module, [*job.result.warnings, *([UNVERIFIED] if job.result.is_unverified else []), *warnings])
    if job.result.error is not None:
        module.fail_with(job.result.error, report)
    module.exit_json(**report)


async def _run(module: GuestModule, interruption: Interruption) -> tuple[Job, list[str]]:
    async with connections() as kept:
        request = parse_request(module.params, module.check_mode)
        job = Job(guest_ref(module.params), writer_of(module.params, kept, module.check_mode), request)
        inspect_host = host_inspector([module.params], kept)
        warnings = await converge_all([job], limits_of(module.params), inspect_host, interruption)
        if job.skipped and interruption.error is not None:
            raise interruption.error
        return job, warnings
