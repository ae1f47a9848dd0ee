#!/usr/bin/python
# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring the vCPUs of many guests to the desired state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vcpu_batch
short_description: Enable and disable vCPUs of many QEMU/KVM guests at once
version_added: 1.0.0
description:
  - Brings many guests on one hypervisor to their desired states in one task, as M(kvm.hotplug.vcpu) does for one guest.
    Several guests are handled concurrently, with one connection to each libvirt daemon.
  - Guests are independent of each other. If one fails, the others are handled nevertheless. The task fails at its end,
    with the results of all guests.
  - A guest with invalid options is not contacted and fails. This does not affect the other guests either.
author:
  - the kvm.hotplug authors (@kvm-hotplug)
options:
  guests:
    description:
      - The guests, each with the options of M(kvm.hotplug.vcpu). If a guest is named twice, the task fails before
        anything is changed.
    type: list
    elements: dict
    required: true
  defaults:
    description:
      - Options of M(kvm.hotplug.vcpu) for all guests that do not set them. A guest that sets one of C(vcpus),
        C(enabled), C(nodes) and C(count) inherits none of the others, nor C(exclusive) or C(placement) if these belong
        to another.
    type: dict
    default: {}
  max_concurrency:
    description:
      - The maximum number of guests that are handled concurrently, at most 256.
    type: int
    default: 16
  fail_fast:
    description:
      - Whether to start no further guest after one has failed. Those guests are not changed, and are
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
- name: Bring all guests of this hypervisor to the desired state in the inventory
  kvm.hotplug.vcpu_batch:
    guests: "{{ kvm_hotplug_desired_guests }}"
    defaults:
      guest_online: verify
      max_disable: 4
    max_overcommit: 4
    overcommit: fail

- name: Bring different guests to different desired states
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
  description: The result of each guest, in the order of O(guests), with all results of M(kvm.hotplug.vcpu).
  returned: always
  type: list
  elements: dict
  contains:
    item:
      description: The guest's name, UUID, monitor, agent socket or file, as given in O(guests).
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
      description: Whether this guest was not started because another one had failed and O(fail_fast=true).
      type: bool
      sample: false
    error_code:
      description: The machine-readable error code.
      returned: when this guest failed
      type: str
      sample: unplug_refused
    msg:
      description: What failed, the cause, and the remedy; V("") if the guest did not fail.
      type: str
      sample: ""
    warnings:
      description: Warnings about this guest.
      type: list
      elements: str
    steps:
      description: The steps, as M(kvm.hotplug.vcpu) returns them.
      type: list
      elements: dict
    guest:
      description: The identity and state of the guest, as M(kvm.hotplug.vcpu) returns them.
      type: dict
    sparse:
      description: Whether the enabled vCPUs are other than 0 to n-1, as M(kvm.hotplug.vcpu) returns it.
      type: dict
    headroom:
      description: How many more vCPUs can be enabled at most, as M(kvm.hotplug.vcpu) returns it.
      type: dict
    vcpus:
      description: Each vCPU, as M(kvm.hotplug.vcpu) returns it.
      returned: when O(details) is V(full); when it is V(changed), only those that were changed
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
      description: What a migration of the guest requires, as M(kvm.hotplug.vcpu) returns it.
      returned: when O(details) is V(full)
      type: dict
    backup_file:
      description: The copy of the domain XML before it was written, as M(kvm.hotplug.vcpu) returns it.
      returned: when one was made
      type: str
summary:
  description: The number of guests by outcome.
  returned: always
  type: dict
  contains:
    guests:
      description: All guests.
      type: int
      sample: 100
    changed:
      description: Guests that were changed, or would be in check mode. Some of these may have failed afterwards.
      type: int
      sample: 12
    unchanged:
      description: Guests that were in the desired state already.
      type: int
      sample: 87
    failed:
      description: Guests that failed.
      type: int
      sample: 1
    skipped:
      description: Guests that were not started because another one had failed.
      type: int
      sample: 0
error_code:
  description: The RV(guests[].error_code) of the first guest that failed, or the error code of the task itself.
  returned: failure
  type: str
  sample: unplug_refused
msg:
  description: How many guests failed, which ones, and each cause once with its remedy.
  returned: failure
  type: str
"""

from ansible_collections.kvm.hotplug.plugins.module_utils.entry import compile_once


def main() -> None:
    """Run the module."""
    compile_once.install()
    from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import GuestModule
    from ansible_collections.kvm.hotplug.plugins.module_utils.entry.vcpu_batch import run_vcpu_batch
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import (
        BATCH_OPTIONS,
        DETAILS_OPTION,
        HOST_OPTIONS,
    )

    run_vcpu_batch(
        GuestModule(argument_spec={**BATCH_OPTIONS, **HOST_OPTIONS, **DETAILS_OPTION}, supports_check_mode=True)
    )


if __name__ == "__main__":
    main()
