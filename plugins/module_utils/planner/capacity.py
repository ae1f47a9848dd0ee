# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The number of enabled vCPUs per host CPU. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Host


def overcommitted(host: Host, planned: Sequence[tuple[str | None, int]], most: float) -> str:
    """Return how the host would exceed the limit, or nothing; ``planned`` are the future numbers of vCPUs by UUID.

    ``most`` is the maximum number of vCPUs per host CPU.
    """
    ours = {uuid for uuid, _count in planned}
    others = sum(count for uuid, count in host.guests.items() if uuid not in ours)
    load = others + sum(count for _uuid, count in planned)
    if load <= most * host.cpus:
        return ""
    where = host.name or "this host"
    return (
        f"{where} has {host.cpus} CPUs, and its guests would have {load} vCPUs enabled, {load / host.cpus:.2f} per "
        f"CPU, and max_overcommit is {most:g}: disable others first, or raise it"
    )
