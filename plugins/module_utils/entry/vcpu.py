# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ``kvm.hotplug.vcpu``: one guest, from its options to its result."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import Connections, connections, source_of
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import Edge, GuestModule, warn
from ansible_collections.kvm.hotplug.plugins.module_utils.report.results import convergence_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request, parse_request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.guest import Convergence, converge

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Source


def run_vcpu(module: GuestModule) -> None:
    """Do what ``kvm.hotplug.vcpu`` is asked for."""
    result = Convergence()
    with Edge(module, lambda: convergence_report(result)):
        request = parse_request(module.params, module.check_mode)

        async def work() -> None:
            async with connections() as kept:
                source = source_of(module.params, kept)
                if module.params["max_overcommit"] is None:
                    await converge(source, request, result)
                else:
                    await _converge_on_host(module, kept, source, request, result)

        asyncio.run(work())
        warn(module, result.warnings)
        if result.error is not None:
            raise result.error
        module.exit_json(**convergence_report(result))


async def _converge_on_host(
    module: GuestModule, kept: Connections, source: Source, request: Request, result: Convergence
) -> None:
    """Converge one guest of a host whose capacity counts."""
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.discover import host_inspector, host_of
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.batch import limits_of
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.batch import Job, converge_all

    job = Job("", source, request, host_of(module.params), result=result)
    limits = limits_of(module.params)
    result.warnings += await converge_all([job], limits, host_inspector([module.params], kept))
