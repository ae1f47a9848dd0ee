# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ``kvm.hotplug.vcpu_info``: one guest or all, inspected and never changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import connections, source_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.discover import guests_named, names_one
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import Edge, GuestModule, warn
from ansible_collections.kvm.hotplug.plugins.module_utils.report.guest import failure_report, info_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request.batch import check_concurrency, label_of
from ansible_collections.kvm.hotplug.plugins.module_utils.run.inspection import Inspection, inspect_all


def run_vcpu_info(module: GuestModule) -> None:
    """Do what ``kvm.hotplug.vcpu_info`` is asked for."""
    with Edge(module, lambda: {"changed": False}):
        sights = asyncio.run(look_at_all(module.params))
        for sight in sights:
            warn(module, sight.warnings)
        failures = [sight for sight in sights if sight.error is not None]
        if len(sights) == 1 and names_one(module.params) and failures and failures[0].error is not None:
            raise failures[0].error
        for sight in failures:
            if sight.error is not None:
                module.warn(f"{sight.label}: {sight.error.msg}")
        module.exit_json(
            changed=False,
            guests=[info_report(sight.seen) for sight in sights if sight.seen is not None],
            failed_guests=[failure_report(sight) for sight in failures],
        )


async def look_at_all(params: Mapping[str, Any]) -> list[Inspection]:
    """Look at the guests that options of ``vcpu_info`` name; raises ``HotplugError`` when they cannot be listed."""
    concurrency = check_concurrency(params["max_concurrency"])
    async with connections() as kept:
        named = await guests_named(params, kept)
        return await inspect_all({label_of(one): source_of(one, kept) for one in named}, concurrency)
