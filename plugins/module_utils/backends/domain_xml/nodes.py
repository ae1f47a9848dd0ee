# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guest node each vCPU of a domain is on, as its <numa> has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain


def nodes_of(domain: Domain) -> dict[int, int]:
    """Return the node of each vCPU that the XML puts on one; a vCPU in no cell goes to the first, as libvirt has it.

    Where no cell names vCPUs, QEMU decides, and there is nothing to return.
    """
    nodes = {vcpu: cell.id for cell in domain.cells for vcpu in cell.cpus or ()}
    if not nodes:
        return {}
    first = min(cell.id for cell in domain.cells)
    return {vcpu: nodes.get(vcpu, first) for vcpu in range(domain.max_vcpus)}
