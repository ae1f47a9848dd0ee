# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest node of each vCPU of a domain, by its <numa>."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain


def nodes_of(domain: Domain) -> dict[int, int]:
    """Return the node of each vCPU. A vCPU in no cell belongs to the first cell, as in libvirt.

    If no cell lists vCPUs, QEMU decides, and the result is empty.
    """
    nodes = {vcpu: cell.id for cell in domain.cells for vcpu in cell.cpus or ()}
    if not nodes:
        return {}
    first = min(cell.id for cell in domain.cells)
    return {vcpu: nodes.get(vcpu, first) for vcpu in range(domain.max_vcpus)}
