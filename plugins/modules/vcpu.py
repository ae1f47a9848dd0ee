#!/usr/bin/python
# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring the vCPUs of one guest to the desired state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vcpu
short_description: Enable and disable vCPUs of a QEMU/KVM guest
version_added: 1.0.0
description:
  - Brings the vCPUs of a guest to the desired state, which is a set of vCPU ids or a number of vCPUs, in all or on each
    NUMA node. Plugs and unplugs vCPUs of the running guest, and changes the vCPUs of its next boot.
  - The id of a vCPU is its position among all vCPUs that the machine can have, counted from 0 in the order of sockets,
    dies, cores and threads. On x86 it equals QEMU's cpu-index and libvirt's vCPU id.
  - After an unplug request, the module evaluates the guest's acknowledgement. It distinguishes a refusal, an unplug in
    progress and a guest that does not respond. A vCPU counts as disabled only when QEMU shows that its slot is empty.
author:
  - the kvm.hotplug authors (@kvm-hotplug)
extends_documentation_fragment:
  - kvm.hotplug.desired_state
  - kvm.hotplug.execution
  - kvm.hotplug.guest.details
  - kvm.hotplug.guest
  - kvm.hotplug.guest.host
  - kvm.hotplug.attributes
attributes:
  check_mode:
    support: full
    description: Makes the same plan and returns it in RV(steps), without changing anything.
  diff_mode:
    support: full
    description: Shows one line per vCPU.
seealso:
  - module: kvm.hotplug.vcpu_info
"""

EXAMPLES = r"""
- name: Enable four vCPUs on node 1 of a libvirt guest, now and after the next boot
  kvm.hotplug.vcpu:
    name: web1
    nodes:
      - id: 1
        count: 4

- name: Do the same for a running QEMU guest that is not managed by libvirt
  kvm.hotplug.vcpu:
    qmp_socket: /run/guests/web1/qmp.sock
    nodes:
      - id: 1
        count: 4

- name: Enable vCPUs 5 and 6, and disable vCPU 2
  kvm.hotplug.vcpu:
    qmp_socket: /run/guests/web1/qmp.sock
    vcpus:
      - id: 5-6
        state: enabled
      - id: 2
        state: disabled

- name: Enable exactly these vCPUs, and disable all others
  kvm.hotplug.vcpu:
    qmp_socket: /run/guests/web1/qmp.sock
    enabled: 0-3,6

- name: Enable six vCPUs, spread evenly over the nodes, of a guest on another hypervisor
  kvm.hotplug.vcpu:
    uri: qemu+ssh://root@hypervisor2/system
    name: web2
    count: 6
    placement: spread

- name: Disable all vCPUs of node 1 within two minutes per vCPU, and roll back on failure
  kvm.hotplug.vcpu:
    qmp_socket: /run/guests/web1/qmp.sock
    nodes:
      - id: 1
        state: disabled
    timeout: 120
    on_failure: rollback

- name: Make the boot vCPUs of a libvirt guest hotpluggable from its next boot on
  kvm.hotplug.vcpu:
    name: web1
    boot_vcpus: hotpluggable

- name: Let the guest have up to 16 vCPUs from its next boot on, and boot with four
  kvm.hotplug.vcpu:
    name: web1
    scope: config
    maximum: 16
    count: 4

- name: Have the guest OS use three of its vCPUs, without plugging or unplugging any
  kvm.hotplug.vcpu:
    qmp_socket: /run/guests/web1/qmp.sock
    agent_socket: /run/guests/web1/agent.sock
    method: agent
    count: 3
"""

RETURN = r"""
steps:
  description: The steps that were done, or in check mode would be, in order. Returned on failures too.
  returned: always
  type: list
  elements: dict
  contains:
    step:
      description:
        - V(plug), V(unplug) or V(place) (the vCPU's thread on the host) in the running guest, V(enable) or V(disable)
          for the next boot, V(online) or V(offline) by the guest OS.
        - V(add) or V(remove) of disabled vCPUs for the next boot, by O(maximum).
      type: str
      sample: plug
    target:
      description: The state that the step changes, V(live), V(config) or V(guest) (the guest OS).
      type: str
      sample: live
    vcpus:
      description: The ids of the vCPUs that the step changes.
      type: str
      sample: "6"
    status:
      description:
        - V(planned) in check mode; V(done) if the step succeeded.
        - V(pending) if an unplug was requested and has not finished, or a plug was not acknowledged; V(refused) if the
          guest OS refused it.
        - V(failed) after any other failure; V(undone) if O(on_failure=rollback) undid it; V(skipped) if an earlier step
          failed.
      type: str
      sample: done
    seconds:
      description: The duration in seconds.
      type: float
      sample: 0.137
    detail:
      description: Further information, such as the reason of a refusal; V("") if there is none.
      type: str
      sample: ""
    makes_hotpluggable:
      description: Whether it is a step V(enable) of vCPUs that are already enabled in the config state, and only makes
        them hotpluggable there.
      type: bool
      sample: false
guest:
  description: The identity and state of the guest.
  returned: when the guest could be observed
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
  description:
    - All vCPUs that the machine can have, by id, in the state at the end of the task, or as predicted in check mode.
  returned: when the guest could be observed; with O(details=changed) only those that were changed
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
        - The host CPUs that its thread may run on, by the kernel of the host; null if unknown. Of a vCPU that is not
          enabled in the running guest, those that the domain XML pins it to.
      type: str
      sample: 2-3
    scheduler:
      description:
        - The scheduler of its thread, by the kernel of the host, C(other), C(batch), C(idle), C(fifo:PRIORITY),
          C(rr:PRIORITY) or C(deadline); null if unknown. Of a vCPU that is not enabled in the running guest, that of
          the domain XML.
      type: str
      sample: fifo:1
nodes:
  description: The guest NUMA nodes that can have vCPUs.
  returned: as RV(vcpus)
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
  returned: when the guest could be observed
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
  description: How many more vCPUs can be enabled at most. 0 if the guest has reached its maximum, see O(maximum).
  returned: when the guest could be observed
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
xml:
  description: The C(<vcpus>) element in the RFC's dialect, with all attributes.
  returned: when the guest could be observed and O(details) is V(full)
  type: str
  sample: |
    <vcpus>
      <vcpu id="0" state="enabled" cell="0"/>
    </vcpus>
migration:
  description: What a migration of this guest requires.
  returned: when the guest could be observed and O(details) is V(full)
  type: dict
  contains:
    feature:
      description:
        - V(sparse-vcpus) if the destination must be started with specific vCPU ids, not only a number of vCPUs; else
          null.
      type: str
    reason:
      description: The reason.
      type: str
      sample: "the enabled vCPUs are 0 to n-1: their number is sufficient to start a destination"
    destination_args:
      description:
        - The arguments that start the destination's QEMU with the same vCPUs.
        - Empty if they are unknown, as for a guest with NUMA nodes without O(domain_xml), because the monitor does not
          show the memory of the nodes.
      type: list
      elements: str
      sample: ["-smp", "cpus=2,maxcpus=4,sockets=1,cores=4,threads=1"]
diff:
  description: The states before and after the task, one line per vCPU.
  returned: when the guest could be observed
  type: dict
  contains:
    before:
      description: The state before the task.
      type: str
    after:
      description: The state after the task, or as predicted in check mode.
      type: str
backup_file:
  description: The copy that O(backup=true) made.
  returned: when O(domain_xml) was written with O(backup=true)
  type: str
  sample: /etc/guests/web1.xml.4711.2026-11-22@14:05:07~
error_code:
  description: The machine-readable error code.
  returned: failure
  type: str
  sample: unplug_refused
msg:
  description: What failed, the cause, and the remedy.
  returned: failure
  type: str
"""

from ansible_collections.kvm.hotplug.plugins.module_utils.entry import compile_once


def main() -> None:
    """Run the module."""
    compile_once.install()
    from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import VcpuModule
    from ansible_collections.kvm.hotplug.plugins.module_utils.entry.vcpu import run_vcpu
    from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import (
        DESIRED_STATE_CONSTRAINTS,
        DETAILS_OPTION,
        HOST_OPTIONS,
        VCPU_SPEC,
    )

    run_vcpu(
        VcpuModule(
            argument_spec={**VCPU_SPEC, **HOST_OPTIONS, **DETAILS_OPTION},
            supports_check_mode=True,
            **DESIRED_STATE_CONSTRAINTS,
        )
    )


if __name__ == "__main__":
    main()
