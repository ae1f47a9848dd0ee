#!/usr/bin/python
# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring the vCPUs of many guests to the wanted state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vcpu_batch
short_description: Enable and disable vCPUs of many QEMU/KVM guests at once
version_added: 0.1.0
description:
  - Does for each of many guests on one hypervisor what M(kvm.hotplug.vcpu) does for one, several at a time and in one
    task, with one connection to each libvirt.
  - Each guest is dealt with by itself. One that fails neither stops nor hides another; the task fails at its end, with
    the results of all.
  - All options are checked before anything is changed.
author:
  - the kvm.hotplug authors (@kvm-hotplug)
options:
  guests:
    description:
      - The guests, each with the options of M(kvm.hotplug.vcpu). No guest may be named twice.
    type: list
    elements: dict
    required: true
  defaults:
    description:
      - Options of M(kvm.hotplug.vcpu) for all guests that do not set them. A guest that has one of C(vcpus),
        C(enabled), C(nodes) and C(count) has none of the others from here, nor C(exclusive) or C(placement) where it
        goes with another.
    type: dict
    default: {}
  max_concurrency:
    description:
      - How many guests are dealt with at once, at most 256.
    type: int
    default: 16
  fail_fast:
    description:
      - Whether the first guest that fails keeps those that were not begun from being changed. They are
        RV(guests[].skipped).
    type: bool
    default: false
extends_documentation_fragment:
  - kvm.hotplug.guest.details
  - kvm.hotplug.guest.host
  - kvm.hotplug.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  action_group:
    support: none
    membership: []
requirements:
  - python >= 3.9
  - qemu.qmp >= 0.0.6, for guests named by C(qmp_socket) or C(agent_socket)
  - lxml, for guests named by C(domain_xml) or C(name)
  - libvirt-python >= 9.0, for guests named by C(name)
seealso:
  - module: kvm.hotplug.vcpu
  - module: kvm.hotplug.vcpu_info
"""

EXAMPLES = r"""
- name: Bring all guests of this hypervisor to what the inventory says
  kvm.hotplug.vcpu_batch:
    guests: "{{ hypervisor_guests }}"
    defaults:
      guest_online: verify
      max_disable: 4
    max_overcommit: 4
    overcommit: fail

- name: Different guests, different wishes
  kvm.hotplug.vcpu_batch:
    guests:
      - name: web1
        count: 6
      - name: web2
        nodes:
          - id: 1
            count: 4
      - qmp_socket: /run/guests/build1/qmp.sock
        enabled: 0-3
    defaults:
      timeout: 30
"""

RETURN = r"""
guests:
  description: What came of each guest, in the order of O(guests), with all results of M(kvm.hotplug.vcpu).
  returned: always
  type: list
  elements: dict
  contains:
    item:
      description: What the guest was named by.
      type: str
      sample: web1
    changed:
      description: Whether this guest was changed, or would be in check mode.
      type: bool
      sample: true
    failed:
      description: Whether this guest failed.
      type: bool
      sample: false
    skipped:
      description: Whether this guest was left alone because another had failed and O(fail_fast) is set.
      type: bool
      sample: false
    error_code:
      description: What failed, for programs.
      returned: when this guest failed
      type: str
      sample: unplug_refused
    msg:
      description: What failed, why, and what to do about it; V("") when nothing did.
      type: str
      sample: ""
    warnings:
      description: What there is to know of this guest.
      type: list
      elements: str
    steps:
      description: What was done, as M(kvm.hotplug.vcpu) returns it.
      type: list
      elements: dict
    guest:
      description: Who the guest is, as M(kvm.hotplug.vcpu) returns it.
      type: dict
    sparse:
      description: Whether the enabled vCPUs are other than 0 to n-1, as M(kvm.hotplug.vcpu) returns it.
      type: dict
    vcpus:
      description: Each vCPU, as M(kvm.hotplug.vcpu) returns it.
      returned: when O(details) is V(full), and those that were changed when it is V(changed)
      type: list
      elements: dict
    nodes:
      description: Each NUMA node, as M(kvm.hotplug.vcpu) returns it.
      returned: as RV(guests[].vcpus)
      type: list
      elements: dict
    xml:
      description: The C(<vcpus>) element, as M(kvm.hotplug.vcpu) returns it.
      returned: when O(details) is V(full)
      type: str
    migration:
      description: What a migration of the guest needs, as M(kvm.hotplug.vcpu) returns it.
      returned: when O(details) is V(full)
      type: dict
    backup_file:
      description: The copy of the domain XML before it was written, as M(kvm.hotplug.vcpu) returns it.
      returned: when one was made
      type: str
summary:
  description: How many guests fared how.
  returned: always
  type: dict
  contains:
    guests:
      description: All of them.
      type: int
      sample: 100
    changed:
      description: Those that were changed, or would be; some of these may have failed afterwards.
      type: int
      sample: 12
    unchanged:
      description: Those that were as wished.
      type: int
      sample: 87
    failed:
      description: Those that failed.
      type: int
      sample: 1
    skipped:
      description: Those that were left alone after another's failure.
      type: int
      sample: 0
error_code:
  description: The RV(guests[].error_code) of the first guest that failed, or what was wrong with the task itself.
  returned: failure
  type: str
  sample: unplug_refused
msg:
  description: How many guests failed, which, and each reason once with what to do about it.
  returned: failure
  type: str
"""

from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import GuestModule
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.vcpu_batch import run_vcpu_batch
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import (
    BATCH_OPTIONS,
    DETAILS_OPTION,
    HOST_OPTIONS,
)


def main() -> None:
    """Run the module."""
    run_vcpu_batch(
        GuestModule(argument_spec={**BATCH_OPTIONS, **HOST_OPTIONS, **DETAILS_OPTION}, supports_check_mode=True)
    )


if __name__ == "__main__":
    main()
