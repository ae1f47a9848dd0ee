#!/usr/bin/python
# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell everything there is to know of a guest's vCPUs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vcpu_info
short_description: Tell the state of the vCPUs of a QEMU/KVM guest
version_added: 0.1.0
description:
  - Returns each vCPU a guest can have, whether it is enabled, where it is in the guest's topology, and whether it
    could be enabled or disabled now, with the reason and the remedy when not.
  - Without an option that names a guest, it tells of every guest at O(uri), running or not.
options:
  qmp_sockets:
    description:
      - The monitors of several guests that libvirt does not run, as shell patterns such as C(/run/guests/*/qmp.sock).
    type: list
    elements: str
  max_concurrency:
    description:
      - How many guests to look at at once, at most 256.
    type: int
    default: 16
author:
  - the kvm.hotplug authors (@kvm-hotplug)
extends_documentation_fragment:
  - kvm.hotplug.guest.details
  - kvm.hotplug.guest
  - kvm.hotplug.attributes
  - kvm.hotplug.attributes.info_module
seealso:
  - module: kvm.hotplug.vcpu
"""

EXAMPLES = r"""
- name: Look at a guest of libvirt's
  kvm.hotplug.vcpu_info:
    name: web1
  register: info

- name: Look at a guest that libvirt does not run
  kvm.hotplug.vcpu_info:
    qmp_socket: /run/guests/web1/qmp.sock
  register: info

- name: Look at all guests of a libvirt
  kvm.hotplug.vcpu_info:
    uri: qemu:///system
  register: all_guests

- name: Look at all guests that have a monitor in a folder
  kvm.hotplug.vcpu_info:
    qmp_sockets: [/run/guests/*/qmp.sock]

- name: Look at the config state of a guest that is shut off
  kvm.hotplug.vcpu_info:
    domain_xml: /etc/guests/web1.xml
  register: config

- name: Start QEMU with what the file says, sparse or not
  ansible.builtin.debug:
    msg: "qemu-system-x86_64 -machine q35 {{ config.guests[0].qemu_args | map('quote') | join(' ') }} ..."

- name: Draw it
  ansible.builtin.debug:
    msg: "{{ info.guests[0] | kvm.hotplug.drawing }}"

- name: Name the vCPUs that cannot be disabled now
  ansible.builtin.debug:
    msg: "vCPU {{ item.id }}: {{ item.can_disable.reason }}; {{ item.can_disable.remedy }}"
  loop: "{{ info.guests[0].vcpus | selectattr('can_disable') }}"
  loop_control:
    label: "{{ item.id }}"
"""

RETURN = r"""
guests:
  description: The guests that were named, or found.
  returned: success
  type: list
  elements: dict
  contains:
    guest:
      description: Who the guest is.
      type: dict
      contains:
        name:
          description: The name given with C(-name), or null.
          type: str
          sample: web1
        uuid:
          description: The UUID, or null.
          type: str
          sample: 4c1f4a7e-3f0e-4c8e-9a93-0a6d1e7d3b11
        state:
          description: V(running), V(paused), V(shutoff) or V(crashed).
          type: str
          sample: running
        arch:
          description: The architecture.
          type: str
          sample: x86_64
        machine:
          description: The machine type.
          type: str
          sample: pc-q35-10.0
        max_vcpus:
          description: How many vCPUs the machine can have.
          type: int
          sample: 8
        entity_size:
          description: How many vCPUs come and go at once.
          type: int
          sample: 1
    vcpus:
      description: All vCPUs the machine can have, by id.
      type: list
      elements: dict
      contains:
        id:
          description: The id.
          type: int
          sample: 6
        live:
          description: V(enabled) or V(disabled) in the running guest; null when it does not run.
          type: str
          sample: enabled
        config:
          description: V(enabled) or V(disabled) at the next boot; null when nothing tells.
          type: str
          sample: enabled
        online:
          description: Whether the guest's system runs on it; null when it cannot be asked.
          type: bool
          sample: true
        hotpluggable:
          description: Whether it can come and go while the guest runs.
          type: bool
          sample: true
        node:
          description: The guest NUMA node, or null.
          type: int
          sample: 1
        drawer:
          description: The drawer, or null where the machine has none.
          type: int
        book:
          description: The book, or null where the machine has none.
          type: int
        socket:
          description: The socket, or null where the machine has none.
          type: int
          sample: 3
        die:
          description: The die, or null where the machine has none.
          type: int
          sample: 0
        cluster:
          description: The cluster, or null where the machine has none.
          type: int
        module:
          description: The module, or null where the machine has none.
          type: int
        core:
          description: The core, or null where the machine has none.
          type: int
          sample: 0
        thread:
          description: The thread, or null where the machine has none.
          type: int
          sample: 0
        entity:
          description: The ids of the vCPUs that come and go together with this one, itself included.
          type: str
          sample: "6"
        alias:
          description: QEMU's device id; null for a vCPU the guest booted with.
          type: str
          sample: vcpu6
        order:
          description: libvirt's order of plugging; null when nothing tells.
          type: int
        thread_id:
          description: The host thread, or null when there is none of its own.
          type: int
          sample: 24511
        pin:
          description: The host CPUs it is pinned to; null when nothing tells.
          type: str
        scheduler:
          description: The scheduler of its thread; null when nothing tells.
          type: str
        can_enable:
          description: Why this vCPU alone cannot be enabled now; null when it can, or is already.
          type: dict
          contains: &obstacle
            code:
              description: The error code that M(kvm.hotplug.vcpu) would fail with.
              type: str
              sample: not_hotpluggable
            reason:
              description: Why.
              type: str
              sample: the guest booted on it, and QEMU never lets the boot vCPU go
            remedy:
              description: What to do about it.
              type: str
              sample: leave it enabled
        can_disable:
          description: Why this vCPU alone cannot be disabled now; null when it can, or is already.
          type: dict
          contains: *obstacle
    nodes:
      description: The guest's NUMA nodes that can have vCPUs.
      type: list
      elements: dict
      contains:
        id:
          description: The node's id.
          type: int
          sample: 1
        vcpus:
          description: The ids of the vCPUs it can have.
          type: str
          sample: 4-7
        live:
          description: Those enabled in the running guest; null when it does not run.
          type: str
          sample: 4,6
        config:
          description: Those enabled at the next boot; null when nothing tells.
          type: str
          sample: "4"
    sparse:
      description: Whether the enabled ids are other than 0 to n-1.
      type: dict
      contains:
        live:
          description: In the running guest; null when it does not run.
          type: bool
          sample: true
        config:
          description: At the next boot; null when nothing tells.
          type: bool
          sample: false
    xml:
      description: The C(<vcpus>) element that describes the vCPUs, with all detail.
      type: str
      sample: |
        <vcpus>
          <vcpu id="0" state="enabled" cell="0"/>
        </vcpus>
    migration:
      description: What a migration of this guest has to know.
      type: dict
      contains:
        feature:
          description:
            - V(sparse-vcpus) when the destination has to know which vCPUs there are, not only how many; else null.
          type: str
        reason:
          description: Why.
          type: str
          sample: "the enabled vCPUs are 0 to n-1: their number tells a destination all"
        destination_args:
          description:
            - The arguments that start the destination's QEMU with the same vCPUs.
            - Empty where it cannot be told, as for a guest with NUMA nodes without O(domain_xml), for the monitor
              does not tell of their memory.
          type: list
          elements: str
          sample: ["-smp", "cpus=2,maxcpus=4,sockets=1,cores=4,threads=1"]
    drift:
      description: Where the guest's states differ.
      type: dict
      contains:
        config:
          description: The ids of vCPUs whose live and config state differ; null when one of the two is not known.
          type: str
          sample: 4-5
        libvirt:
          description:
            - The ids of vCPUs of which libvirt's record and QEMU differ; null for guests it does not run, and where
              that cannot be told.
          type: str
    qemu_args:
      description: The arguments that start QEMU with the config state; empty when nothing tells that state.
      type: list
      elements: str
failed_guests:
  description:
    - Those of several guests that could not be looked at; they hide no others. One that was named alone fails the task.
  returned: success
  type: list
  elements: dict
  contains:
    guest:
      description: What the guest was named by.
      type: str
      sample: /run/guests/web2/qmp.sock
    error_code:
      description: What failed.
      type: str
      sample: monitor_unreachable
    msg:
      description: What failed, why, and what to do about it.
      type: str
error_code:
  description: What failed, for programs; RV(msg) says it for people, and what to do about it.
  returned: failure
  type: str
  sample: monitor_unreachable
msg:
  description: What failed, why, and what to do about it.
  returned: failure
  type: str
"""

from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import GuestModule
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.vcpu_info import run_vcpu_info
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import (
    DETAILS_OPTION,
    FLEET_OPTIONS,
    GUEST_CONSTRAINTS,
    GUEST_OPTIONS,
    TIMEOUT_OPTION,
)


def main() -> None:
    """Run the module."""
    run_vcpu_info(
        GuestModule(
            argument_spec={**GUEST_OPTIONS, **FLEET_OPTIONS, **TIMEOUT_OPTION, **DETAILS_OPTION},
            supports_check_mode=True,
            mutually_exclusive=GUEST_CONSTRAINTS["mutually_exclusive"],
        )
    )


if __name__ == "__main__":
    main()
