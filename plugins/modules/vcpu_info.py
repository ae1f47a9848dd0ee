#!/usr/bin/python
# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Return the state of the vCPUs of one guest or of many."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vcpu_info
short_description: Return the state of the vCPUs of QEMU/KVM guests
version_added: 1.0.0
description:
  - Returns each vCPU that a guest can have, whether it is enabled, its position in the guest's topology, and whether it
    can be enabled or disabled now. If it cannot, the reason and the remedy are returned.
  - Without an option that names a guest, it returns every guest at O(uri), running or not.
options:
  qmp_sockets:
    description:
      - The monitor sockets of QEMU guests not managed by libvirt, as shell patterns such as C(/run/guests/*/qmp.sock).
    type: list
    elements: str
  max_concurrency:
    description:
      - The maximum number of guests that are observed concurrently, at most 256.
    type: int
    default: 16
author:
  - the kvm.hotplug authors (@kvm-hotplug)
extends_documentation_fragment:
  - kvm.hotplug.destination
  - kvm.hotplug.guest.details
  - kvm.hotplug.guest
  - kvm.hotplug.attributes
  - kvm.hotplug.attributes.info_module
seealso:
  - module: kvm.hotplug.vcpu
"""

EXAMPLES = r"""
- name: Observe a libvirt guest
  kvm.hotplug.vcpu_info:
    name: web1
  register: info

- name: Observe a QEMU guest not managed by libvirt
  kvm.hotplug.vcpu_info:
    qmp_socket: /run/guests/web1/qmp.sock
  register: info

- name: Observe all guests of a libvirt daemon
  kvm.hotplug.vcpu_info:
    uri: qemu:///system
  register: all_guests

- name: Observe all guests that have a monitor socket in a folder
  kvm.hotplug.vcpu_info:
    qmp_sockets: [/run/guests/*/qmp.sock]

- name: Observe the config state of a guest that is shut off
  kvm.hotplug.vcpu_info:
    domain_xml: /etc/guests/web1.xml
  register: config

- name: Draw the guest
  ansible.builtin.debug:
    msg: "{{ info.guests[0] | kvm.hotplug.drawing }}"

- name: Show the vCPUs that cannot be disabled now
  ansible.builtin.debug:
    msg: "vCPU {{ item.id }}: {{ item.can_disable.reason }}; {{ item.can_disable.remedy }}"
  loop: "{{ info.guests[0].vcpus | selectattr('can_disable') }}"
  loop_control:
    label: "{{ item.id }}"
"""

RETURN = r"""
guests:
  description: The guests that the options name, or all guests that were found.
  returned: success
  type: list
  elements: dict
  contains:
    guest:
      description: The identity and state of the guest.
      type: dict
      contains:
        name:
          description: The guest's name in libvirt, in the domain XML or given with QEMU's C(-name), or null.
          type: str
          sample: web1
        uuid:
          description: The UUID, or null.
          type: str
          sample: 4c1f4a7e-3f0e-4c8e-9a93-0a6d1e7d3b11
        state:
          description: V(running), V(paused), V(pmsuspended), V(shutoff) or V(crashed).
          type: str
          sample: running
        arch:
          description: The architecture of the guest.
          type: str
          sample: x86_64
        machine:
          description: The machine type.
          type: str
          sample: pc-q35-10.0
        max_vcpus:
          description: The maximum number of vCPUs.
          type: int
          sample: 8
        entity_size:
          description: The maximum number of vCPUs that are plugged or unplugged at once.
          type: int
          sample: 1
    vcpus:
      description: All vCPUs that the machine can have, by id.
      type: list
      elements: dict
      contains:
        id:
          description: The id.
          type: int
          sample: 6
        live:
          description: V(enabled) or V(disabled) in the running guest; null if the guest does not run.
          type: str
          sample: enabled
        config:
          description: V(enabled) or V(disabled) at the next boot; null if unknown.
          type: str
          sample: enabled
        online:
          description: Whether the guest OS runs on it; null if unknown.
          type: bool
          sample: true
        hotpluggable:
          description: Whether it can be plugged and unplugged while the guest runs.
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
          description: The ids of the vCPUs that are plugged and unplugged together with this one, including its own.
          type: str
          sample: "6"
        alias:
          description: QEMU's device id; null for a boot vCPU.
          type: str
          sample: vcpu6
        order:
          description: libvirt's plug order; null if unknown.
          type: int
        thread_id:
          description: The id of its thread on the host; null if it has no thread of its own.
          type: int
          sample: 24511
        pin:
          description:
            - The host CPUs that its thread may run on, by the kernel of the host; null if unknown. Of a vCPU that is
              not enabled in the running guest, those that the domain XML pins it to.
          type: str
          sample: 2-3
        scheduler:
          description:
            - The scheduler of its thread, by the kernel of the host, C(other), C(batch), C(idle), C(fifo:PRIORITY),
              C(rr:PRIORITY) or C(deadline); null if unknown. Of a vCPU that is not enabled in the running guest, that
              of the domain XML.
          type: str
          sample: fifo:1
        host_nodes:
          description: The host NUMA nodes with CPUs that its thread may run on; null if unknown.
          type: str
          sample: "0"
        memory_is_local:
          description:
            - Whether the memory of its guest node is on one of RV(guests[].vcpus[].host_nodes), by C(<numatune>); null
              if unknown. If it is not, a warning names the vCPU.
          type: bool
          sample: true
        can_enable:
          description: Why this vCPU alone cannot be enabled now; null if it can, or if it is enabled.
          type: dict
          contains: &obstacle
            code:
              description: The error code that M(kvm.hotplug.vcpu) would fail with.
              type: str
              sample: not_hotpluggable
            reason:
              description: The reason.
              type: str
              sample: the guest booted on it, and QEMU cannot unplug the boot vCPU
            remedy:
              description: The remedy.
              type: str
              sample: leave it enabled
        can_disable:
          description: Why this vCPU alone cannot be disabled now; null if it can, or if it is disabled.
          type: dict
          contains: *obstacle
    nodes:
      description: The guest NUMA nodes that can have vCPUs.
      type: list
      elements: dict
      contains:
        id:
          description: The node's id.
          type: int
          sample: 1
        vcpus:
          description: The ids of all vCPUs of the node, enabled or not.
          type: str
          sample: 4-7
        live:
          description: The ids enabled in the running guest; null if the guest does not run.
          type: str
          sample: 4,6
        config:
          description: The ids enabled at the next boot; null if unknown.
          type: str
          sample: "4"
    sparse:
      description: Whether the enabled ids are other than 0 to n-1.
      type: dict
      contains:
        live:
          description: In the running guest; null if the guest does not run.
          type: bool
          sample: true
        config:
          description: At the next boot; null if unknown.
          type: bool
          sample: false
    headroom:
      description:
        - How many more vCPUs can be enabled at most. 0 if the guest has reached its maximum, which
          O(kvm.hotplug.vcpu#module:maximum) raises for the next boot.
      type: dict
      contains:
        live:
          description: In the running guest; null if the guest does not run.
          type: int
          sample: 4
        config:
          description: At the next boot; null if unknown.
          type: int
          sample: 12
    destination:
      description: Whether the guest can migrate to its destination.
      returned: with O(destination_qmp_socket), O(destination_domain_xml) or O(destination_uri)
      type: dict
      contains:
        fits:
          description: Whether both have the same machine and the same slots, and the same of these are enabled.
          type: bool
          sample: false
        reasons:
          description: The differences that prevent a migration or the use of a vCPU after it; empty if it fits.
          type: list
          elements: str
          sample: ["vCPU 5 is enabled, and disabled at the destination, where QEMU would exit"]
    xml:
      description: The C(<vcpus>) element in the RFC's dialect, with all attributes.
      type: str
      sample: |
        <vcpus>
          <vcpu id="0" state="enabled" cell="0"/>
        </vcpus>
    migration:
      description: What a migration of this guest requires.
      type: dict
      contains:
        feature:
          description:
            - V(sparse-vcpus) if the destination must be started with specific vCPU ids, not only a number of vCPUs;
              else null.
          type: str
        reason:
          description: The reason.
          type: str
          sample: "the enabled vCPUs are 0 to n-1: their number is sufficient to start a destination"
        destination_args:
          description:
            - The arguments that start the destination's QEMU with the same vCPUs.
            - Empty if they are unknown, as for a guest with NUMA nodes without O(domain_xml), because the monitor does
              not show the memory of the nodes.
          type: list
          elements: str
          sample: ["-smp", "cpus=2,maxcpus=4,sockets=1,cores=4,threads=1"]
    drift:
      description: Differences between the states of the guest.
      type: dict
      contains:
        config:
          description: The ids of vCPUs whose live and config state differ; null if one of the two is unknown.
          type: str
          sample: 4-5
        libvirt:
          description:
            - The ids of vCPUs whose state differs between libvirt's record and QEMU; null for guests not managed by
              libvirt, and if unknown.
          type: str
        placement:
          description:
            - The ids of enabled vCPUs whose threads are not where the C(<cputune>) of the guest says, with its
              C(vcpupin), C(vcpusched), C(period) and C(quota), or the C(cpuset) of its C(<vcpu>). For libvirt guests
              it is that of the running guest, for others that of O(domain_xml). Null if unknown.
          type: str
          sample: "5"
    qemu_args:
      description: The arguments that start QEMU with the config state; empty if that state is unknown.
      type: list
      elements: str
failed_guests:
  description:
    - Guests that could not be observed, if the task observes several. The others are returned nevertheless. If the task
      names a single guest that cannot be observed, the task fails.
  returned: success
  type: list
  elements: dict
  contains:
    guest:
      description: The guest's name or UUID, or its monitor.
      type: str
      sample: /run/guests/web2/qmp.sock
    error_code:
      description: The machine-readable error code.
      type: str
      sample: monitor_unreachable
    msg:
      description: What failed, the cause, and the remedy.
      type: str
error_code:
  description: The machine-readable error code.
  returned: failure
  type: str
  sample: monitor_unreachable
msg:
  description: What failed, the cause, and the remedy.
  returned: failure
  type: str
"""

from ansible_collections.kvm.hotplug.plugins.module_utils.entry import compile_once


def main() -> None:
    """Run the module."""
    compile_once.install()
    from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import GuestModule
    from ansible_collections.kvm.hotplug.plugins.module_utils.entry.vcpu_info import run_vcpu_info
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import INFO_CONSTRAINTS, INFO_SPEC

    run_vcpu_info(GuestModule(argument_spec=INFO_SPEC, supports_check_mode=True, **INFO_CONSTRAINTS))


if __name__ == "__main__":
    main()
