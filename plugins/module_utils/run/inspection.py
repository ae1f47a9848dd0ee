# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect guests without changing them, for ``vcpu_info`` and the inventory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.run.concurrency import each
from ansible_collections.kvm.hotplug.plugins.module_utils.run.destination import end_of, misfits
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Observation, inspect

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import ReadSource
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import GuestRef


@dataclass
class Inspection:
    """The result of one guest of many: an observation, or the error."""

    ref: GuestRef
    # asyncio formats the result of its main task, which takes long for thousands of vCPUs.
    seen: Observation | None = field(default=None, repr=False)
    warnings: list[str] = field(default_factory=list)
    error: HotplugError | None = None
    # Why the guest cannot migrate to its destination; None without one.
    misfits: tuple[str, ...] | None = None


async def inspect_all(sources: Mapping[GuestRef, ReadSource], concurrency: int) -> list[Inspection]:
    """Inspect each guest; a failure does not affect the others."""
    inspections = [Inspection(ref) for ref in sources]

    async def look(inspection: Inspection) -> None:
        try:
            inspection.seen, inspection.warnings = await inspect(sources[inspection.ref])
        except HotplugError as error:
            inspection.error = error

    await each(inspections, look, concurrency)
    return inspections


async def compare_destinations(
    inspections: Iterable[Inspection], source_at: Callable[[Observation], ReadSource], concurrency: int
) -> None:
    """Compare each observed guest with its destination, which ``source_at`` returns; a failure is the guest's error."""

    async def compare(inspection: Inspection) -> None:
        if inspection.seen is None:
            return
        try:
            found, warnings = await inspect(source_at(inspection.seen))
            here, there = end_of(inspection.seen.state), end_of(found.state)
            if here is None or there is None:
                raise HotplugError(
                    CONFLICTING_REQUEST,
                    "an agent alone does not show a guest's machine: name the guest by another option",
                )
        except HotplugError as error:
            inspection.error = HotplugError(error.code, f"the destination cannot be observed: {error.msg}")
            inspection.seen = None
            return
        inspection.misfits = misfits(here, there)
        inspection.warnings += [f"destination: {warning}" for warning in warnings]

    await each(list(inspections), compare, concurrency)
