# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ``kvm.hotplug.vcpu_info``: one guest or all, inspected and never changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import connections
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.discover import guests_named
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.readers import reader_of
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import GuestModule, failing, warn
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.signals import run_until_signal
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import FULL
from ansible_collections.kvm.hotplug.plugins.module_utils.report.info import (
    destination_report,
    failure_report,
    info_report,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.destination import (
    destination_options,
    has_destination,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import guest_ref, names_one
from ansible_collections.kvm.hotplug.plugins.module_utils.request.limits import check_concurrency
from ansible_collections.kvm.hotplug.plugins.module_utils.run.inspection import (
    Inspection,
    compare_destinations,
    inspect_all,
)

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import Connections
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import ReadSource
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Observation


def run_vcpu_info(module: GuestModule) -> None:
    """Run the module ``kvm.hotplug.vcpu_info`` and end it with its results."""
    with failing(module):
        inspections = run_until_signal(lambda interruption: interruption.until(lambda: inspect_named(module.params)))
        guests = list(_reports(inspections, module.params["details"] or FULL))
    for inspection in inspections:
        warn(module, inspection.warnings)
    failures = [(inspection, inspection.error) for inspection in inspections if inspection.error is not None]
    if failures and names_one(module.params):
        module.fail_with(failures[0][1], {})
    for inspection, error in failures:
        module.warn(f"{inspection.ref.label}: {error.msg}")
    module.exit_json(
        changed=False,
        guests=guests,
        failed_guests=[failure_report(inspection) for inspection, _error in failures],
    )


def _reports(inspections: Sequence[Inspection], details: str) -> Iterator[dict[str, Any]]:
    """Report each guest; a config that QEMU cannot start with is the error of its guest."""
    for inspection in inspections:
        if inspection.seen is not None:
            try:
                yield {**info_report(inspection.seen, details), **destination_report(inspection.misfits)}
            except HotplugError as error:
                inspection.error = error


async def inspect_named(params: Mapping[str, Any]) -> list[Inspection]:
    """Inspect the guests that options of ``vcpu_info`` name; raises ``HotplugError`` when they cannot be listed."""
    concurrency = check_concurrency(params["max_concurrency"])
    async with connections() as kept:
        compares = has_destination(params)
        named = await guests_named(params, kept)
        inspections = await inspect_all({guest_ref(one): reader_of(one, kept) for one in named}, concurrency)
        if compares:
            await compare_destinations(inspections, lambda seen: _destination(params, seen, kept), concurrency)
        return inspections


def _destination(params: Mapping[str, Any], seen: Observation, kept: Connections) -> ReadSource:
    facts = seen.state.facts
    return reader_of(destination_options(params, facts.uuid or facts.name), kept)
