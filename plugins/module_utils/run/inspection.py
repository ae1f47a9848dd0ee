# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect guests without changing them, for ``vcpu_info`` and the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.run.concurrency import each
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
