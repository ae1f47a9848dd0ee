# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation: the options with the desired state of one guest."""

from __future__ import annotations


class ModuleDocFragment:
    """The desired state, and the changes of the next boot that it can be combined with."""

    DOCUMENTATION = r"""
options:
  vcpus:
    description:
      - The vCPUs to enable or disable, by id. All others remain unchanged, unless O(exclusive=true).
      - Exactly one of O(vcpus), O(enabled), O(nodes) and O(count) is required, except with O(boot_vcpus=hotpluggable)
        or O(maximum), which can be used alone.
    type: list
    elements: dict
    suboptions:
      id:
        description:
          - A list of ids such as V(3), V(0-3,6) or V(0-7,^2), where C(^) excludes an id. Ids have no sign.
        type: str
        required: true
      state:
        description:
          - The desired state of these vCPUs.
        type: str
        choices: [enabled, disabled]
        required: true
  exclusive:
    description:
      - Whether to disable all vCPUs that O(vcpus) does not name. Only with O(vcpus).
    type: bool
    default: false
  enabled:
    description:
      - The ids of all vCPUs to enable, as a list such as V(0-3,6). All others are disabled. This is short for O(vcpus)
        with O(exclusive=true).
    type: str
  nodes:
    description:
      - The desired state of guest NUMA nodes. Nodes that are not named remain unchanged.
    type: list
    elements: dict
    suboptions:
      id:
        description:
          - A list of node ids, in the format of O(vcpus[].id).
        type: str
        required: true
      state:
        description:
          - The desired state of all vCPUs of each of these nodes.
          - Exactly one of O(nodes[].state) and O(nodes[].count) is required.
        type: str
        choices: [enabled, disabled]
      count:
        description:
          - The number of vCPUs to have enabled on each of these nodes, without a sign like O(count).
        type: int
  count:
    description:
      - The total number of vCPUs to have enabled.
      - As few vCPUs as possible change. The module enables the lowest ids that can be enabled, or disables the highest
        ids that can be disabled.
      - It is an absolute number, not a difference. A string with a sign, such as V("+2"), is refused. YAML reads a bare
        C(+2) as the number 2, so the module does not see that sign.
    type: int
  placement:
    description:
      - How to choose the vCPUs of O(count).
    type: str
    choices:
      pack: The lowest ids first.
      spread: Evenly distributed over the guest's NUMA nodes.
    default: pack
  boot_vcpus:
    description:
      - What to do with vCPUs that are enabled in the config state and not hotpluggable there. libvirt cannot unplug
        such a vCPU while the guest runs.
      - Can be used alone, or together with one of O(vcpus), O(enabled), O(nodes) and O(count). It does not change the
        running guest, which must be shut down and started for it.
    type: str
    choices:
      keep: Leave them unchanged.
      hotpluggable:
        - Make those hotpluggable that remain enabled, so that they can be unplugged after the next boot. vCPU 0 remains
          unchanged, on machines that plug whole cores together with the rest of its core.
        - Refused with O(scope=live) and O(method=agent), on machines without CPU hotplug, on s390x, and for a file of
          O(domain_xml) whose C(<vcpus>) is in the RFC's dialect, which has no attribute for it.
    default: keep
  maximum:
    description:
      - How many vCPUs the guest can have at most from its next boot on. It does not change the running guest, which
        must be shut down and started for it. RV(headroom) is what is left of it.
      - Can be used alone, or together with one of O(vcpus), O(enabled), O(nodes) and O(count), which then apply to the
        next boot as it is with this maximum. What the running guest cannot have yet needs O(scope=config).
      - Without a C(<topology>) it is the number in C(<vcpu>). With one, whole sockets are added or removed, so it must
        be a multiple of the vCPUs of a socket; otherwise the task fails with RV(error_code=count_unreachable) and names
        possible values. vCPUs that remain keep their ids and positions.
      - New vCPUs are disabled. If the guest has NUMA nodes, they are distributed so that all nodes with vCPUs have as
        equal a number as possible, or they belong to O(maximum_node).
      - A lower maximum removes the vCPUs above it, with their entries in C(<vcpus>), C(<cputune>) and C(<cell>). If one
        of them remains enabled in the config state, the task fails with RV(error_code=count_unreachable).
      - In a file of O(domain_xml), and in the definition of a libvirt guest, only what depends on it changes. A libvirt
        guest with a C(<topology>) or NUMA nodes is defined again for it, and libvirt validates the definition.
      - Refused with O(scope=live) and O(method=agent).
    type: int
  maximum_node:
    description:
      - The guest NUMA node of the vCPUs that O(maximum) adds. Only with O(maximum).
    type: int
"""
