# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vCPUs of a domain on this host that cannot be plugged again under KVM, because QEMU would exit."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import reuse
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.host_kvm import query_takes_back
from ansible_collections.kvm.hotplug.plugins.module_utils.model import LEVELS

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_state import Record
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.processes import Processes
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Blocker, Entity, Layout

# KVM names the file of each vCPU by its id, which is the APIC id.
_FILE = re.compile(r"anon_inode:kvm-vcpu:([0-9]{1,10})")


async def unsafe_plugs(record: Record, stats: Mapping[str, Any], processes: Processes) -> dict[int, Blocker]:
    """Return the entities whose plug may end the guest; those that are enabled would be, once unplugged.

    ``stats`` are the ``vcpu`` statistics of the domain. Empty for a guest without KVM or of another user.
    """
    domain, layout = record.domain, record.laid_out.layout
    if domain.arch not in reuse.ARCHITECTURES or not record.laid_out.hotplug:
        return {}
    kept = kept_by_kvm(processes.of(domain.uuid or ""), layout, record.enabled)
    if not kept or await query_takes_back() is not False:
        return {}
    found: dict[int, Blocker] = {}
    for entity in layout.entities:
        vcpu = entity.vcpus[0]
        if vcpu not in kept or vcpu == 0:
            continue
        if vcpu not in record.enabled:
            found[entity.index] = reuse.refused("it was enabled before and may have run")
        elif stats.get(f"vcpu.{vcpu}.exits.sum") != 0:
            found[entity.index] = reuse.refused("it has run, or may have run")
    return found


def kept_by_kvm(process: Path | None, layout: Layout, enabled: Collection[int]) -> frozenset[int] | None:
    """Return the vCPUs that a QEMU has created in KVM, which keeps those that were unplugged too; None if unknown.

    ``process`` is its folder in /proc.
    """
    if process is None:
        return None
    folder = f"{process}/fd"
    try:
        links = [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]
    except OSError:
        # A file was closed meanwhile, or the files belong to another user.
        return None
    ids = {int(match.group(1)) for match in map(_FILE.fullmatch, links) if match}
    if not ids:
        return None
    apic_ids = _apic_ids(layout)
    kept = frozenset(vcpu for vcpu, apic_id in apic_ids.items() if apic_id in ids)
    # Otherwise the ids are not APIC ids.
    return kept if kept.issuperset(enabled) and len(kept) == len(ids) else None


def _apic_ids(layout: Layout) -> dict[int, int]:
    """The APIC id of each vCPU: its number on each level, in as many bits as the highest number there takes."""
    bits = {level: max(entity.position.get(level, 0) for entity in layout.entities).bit_length() for level in LEVELS}

    def apic_id(entity: Entity) -> int:
        found = 0
        for level in LEVELS:
            found = (found << bits[level]) | entity.position.get(level, 0)
        return found

    return {entity.vcpus[0]: apic_id(entity) for entity in layout.entities}
