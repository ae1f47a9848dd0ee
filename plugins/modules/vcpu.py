#!/usr/bin/python
# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring the vCPUs of one guest to the wanted state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vcpu
short_description: Enable and disable vCPUs of a QEMU/KVM guest
version_added: 0.1.0
description:
  - Says which vCPUs of a guest, or how many of them, shall be enabled; plugs and unplugs what is missing for that.
  - A vCPU is known by its id, its position among all vCPUs the machine can have, counted from 0 in the order of
    sockets, dies, cores and threads. On x86 that is QEMU's cpu-index and libvirt's vCPU id.
  - After an unplug was asked for, what the guest answers decides. A refusal, a guest that is still at it and a
    guest that says nothing are told apart, and a vCPU counts as disabled only when its slot is seen to be empty.
author:
  - the kvm.hotplug authors (@kvm-hotplug)
options:
  vcpus:
    description:
      - The vCPUs to enable or disable, by id. Others stay as they are, unless O(exclusive=true).
      - Exactly one of O(vcpus), O(enabled), O(nodes) and O(count) is required.
    type: list
    elements: dict
    suboptions:
      id:
        description:
          - Ids as a list such as V(3), V(0-3,6) or V(0-7,^2), where C(^) leaves one out. Ids have no sign.
        type: str
        required: true
      state:
        description:
          - What these vCPUs shall be.
        type: str
        choices: [enabled, disabled]
        required: true
  exclusive:
    description:
      - Whether vCPUs that O(vcpus) does not name shall be disabled. Only with O(vcpus).
    type: bool
    default: false
  enabled:
    description:
      - The ids of all vCPUs that shall be enabled, as a list such as V(0-3,6). All others become disabled. Short for
        O(vcpus) with O(exclusive=true).
    type: str
  nodes:
    description:
      - What guest NUMA nodes shall have. Nodes that are not named stay as they are.
    type: list
    elements: dict
    suboptions:
      id:
        description:
          - Node ids, written like those of O(vcpus[].id).
        type: str
        required: true
      state:
        description:
          - The state of all vCPUs of each node.
          - Exactly one of O(nodes[].state) and O(nodes[].count) is required.
        type: str
        choices: [enabled, disabled]
      count:
        description:
          - How many vCPUs each of these nodes shall have enabled, without a sign as O(count).
        type: int
  count:
    description:
      - How many vCPUs the guest shall have enabled in all.
      - As few vCPUs as possible change. Of those that could be enabled the lowest ids are, and of those that
        could be disabled the highest.
      - It is a number, not a difference. A value with a sign such as V("+2") is refused where it is a string; a bare
        C(+2) is the number 2 in YAML, which drops the sign before the module could see it.
    type: int
  placement:
    description:
      - Where the vCPUs of O(count) shall be.
    type: str
    choices:
      pack: The lowest ids first.
      spread: Evenly over the guest's NUMA nodes.
    default: pack
  scope:
    description:
      - Which state to change.
    type: str
    choices:
      all: That of the running guest, and that of its next boot where the guest has one.
      live: That of the running guest.
      config: That of the next boot.
      current: That of the running guest, or, when it is shut off, that of the next boot.
    default: all
  method:
    description:
      - How vCPUs are enabled and disabled.
      - V(agent) goes with O(vcpus), O(enabled) and O(count), and not with O(nodes) or O(scope=config); O(scope) is
        always live.
      - With V(agent), ids are those of the machine. Which of the guest's own CPUs each is, the guest's sysfs tells,
        where its agent may read files. Where not, the guest is taken to count as the machine does, if there is no gap
        in the ids; otherwise the task fails with RV(error_code=agent_error).
    type: str
    choices:
      hotplug: The machine plugs and unplugs them.
      agent: The guest's own system onlines and offlines them, asked through its agent. Nothing is plugged.
    default: hotplug
  granularity:
    description:
      - What a vCPU id in O(vcpus) stands for, and what O(count) is made up of.
    type: str
    choices:
      thread: The vCPU alone. On a machine that plugs whole cores, naming a part of a core is an error.
      core: All threads of its core.
    default: thread
  guest_online:
    description:
      - What to wait for after a plug.
      - On x86 a guest acknowledges that it has seen the vCPU, which needs no agent; whether its system runs on it,
        only the guest's agent tells. On pseries and s390x, and while it is paused, a guest acknowledges nothing.
      - With O(name), the acknowledgements come as QEMU's own events, which libvirt passes on without tainting the
        guest.
    type: str
    choices:
      ensure:
        - The guest's acknowledgement, without which the task fails with RV(error_code=plug_unacknowledged).
        - Where there is an agent, it onlines what the guest has not onlined itself. Without one, see O(missing_agent).
      verify: As V(ensure), and the task fails before it plugs anything where there is no agent that could tell.
      ignore: Nothing.
    default: ensure
  missing_agent:
    description:
      - What to do when vCPUs are plugged into a guest without an agent, with O(guest_online=ensure). The guest's
        acknowledgement is waited for all the same.
    type: str
    choices:
      warn:
        - Warn that it is unknown whether the guest's system uses them. Linux does by itself with the udev rule that
          role P(kvm.hotplug.guest#role) installs.
      accept: Nothing, as the guest is known to bring new CPUs online by itself.
    default: warn
  drain:
    description:
      - Whether a guest that has an agent is asked to offline a vCPU before it is unplugged. A refusal then comes at
        once, says why, and leaves everything as it was; when the unplug fails after it, the vCPU is onlined again.
    type: bool
    default: true
  expected:
    description:
      - The vCPUs that were enabled when this change was decided on. When others are enabled now, the task fails with
        RV(error_code=conflicting_request) and changes nothing, unless the wish is fulfilled already.
    type: dict
    suboptions:
      live:
        description:
          - Those of the running guest, as a list of ids such as V(0-3,6).
        type: str
      config:
        description:
          - Those of its next boot.
        type: str
  max_disable:
    description:
      - How many vCPUs the task may at most disable, in the running guest or at its next boot. When it would take more,
        it fails with RV(error_code=conflicting_request) and changes nothing.
    type: int
  on_failure:
    description:
      - What to do with the steps done before one that failed.
    type: str
    choices:
      keep: Keep them. RV(steps) tells what was done.
      rollback: Undo them in reverse order, as far as the guest allows.
    default: keep
  backup:
    description:
      - Whether to keep the file of O(domain_xml) as it was, beside it, before it is written. RV(backup_file) names it.
    type: bool
    default: false
  xml_detail:
    description:
      - What to write of each vCPU besides its state, into a file whose C(<vcpus>) is in the RFC's dialect, with
        C(state) attributes. By default what the file shows already. libvirt's dialect has no such attributes.
    type: str
    choices:
      minimal: Nothing.
      numa: Its node, as C(cell).
      full: Its node, C(pin) and C(scheduler).
  force:
    description:
      - Whether to do what is refused otherwise because it may harm the guest.
      - In the running guest, plug vCPUs even where that may end it. Under KVM on x86, QEMU plugs a vCPU that was
        unplugged by reusing the KVM vCPU it had. Where the host's KVM does not take back one that has run, QEMU exits.
        Over O(qmp_socket) this is found out, and without O(force) such a vCPU cannot be enabled
        (RV(error_code=not_hotpluggable)); where it cannot be found out, a vCPU that the guest booted with cannot.
      - O(count) prefers vCPUs without that risk. An unplug that could not be undone so is reported as a warning.
      - O(on_failure=rollback) never plugs such a vCPU again, even with O(force).
      - In the config state, enable vCPUs on nodes without memory.
    type: bool
    default: false
extends_documentation_fragment:
  - kvm.hotplug.guest.details
  - kvm.hotplug.guest
  - kvm.hotplug.guest.host
  - kvm.hotplug.attributes
attributes:
  check_mode:
    support: full
    description: Makes the same plan and returns it in RV(steps); nothing that changes anything is sent.
  diff_mode:
    support: full
    description: Shows one line for each vCPU.
seealso:
  - module: kvm.hotplug.vcpu_info
"""

EXAMPLES = r"""
- name: Give node 1 of a guest of libvirt's four vCPUs, now and after the next boot
  kvm.hotplug.vcpu:
    name: web1
    nodes:
      - id: 1
        count: 4

- name: The same of a guest that libvirt does not run, now
  kvm.hotplug.vcpu:
    qmp_socket: /run/guests/web1/qmp.sock
    nodes:
      - id: 1
        count: 4

- name: Enable vCPUs 5 and 6, and give up vCPU 2
  kvm.hotplug.vcpu:
    qmp_socket: /run/guests/web1/qmp.sock
    vcpus:
      - id: 5-6
        state: enabled
      - id: 2
        state: disabled

- name: Have exactly these vCPUs enabled, and no other
  kvm.hotplug.vcpu:
    qmp_socket: /run/guests/web1/qmp.sock
    enabled: 0-3,6

- name: Six vCPUs, spread evenly over the nodes, of a guest on another hypervisor
  kvm.hotplug.vcpu:
    uri: qemu+ssh://root@hypervisor2/system
    name: web2
    count: 6
    placement: spread

- name: Take node 1 away from the guest, all or nothing, within two minutes for each vCPU
  kvm.hotplug.vcpu:
    qmp_socket: /run/guests/web1/qmp.sock
    nodes:
      - id: 1
        state: disabled
    timeout: 120
    on_failure: rollback
  register: result

- name: Two vCPUs on node 1, now and after the next boot
  kvm.hotplug.vcpu:
    qmp_socket: /run/guests/web1/qmp.sock
    domain_xml: /etc/guests/web1.xml
    nodes:
      - id: 1
        count: 2
    backup: true

- name: Have the guest's own system use three of the vCPUs it has, and plug nothing
  kvm.hotplug.vcpu:
    qmp_socket: /run/guests/web1/qmp.sock
    agent_socket: /run/guests/web1/agent.sock
    method: agent
    count: 3

- name: Tell a guest that refuses from one that is only slow
  ansible.builtin.debug:
    msg: "{{ result.msg }}"
  when: result.error_code | default('') in ['unplug_refused', 'unplug_pending']
"""

RETURN = r"""
steps:
  description: What was done, or in check mode would be, in that order. On failures too.
  returned: always
  type: list
  elements: dict
  contains:
    step:
      description:
        - V(plug) or V(unplug) of the running guest, V(enable) or V(disable) for its next boot, V(online) or V(offline)
          by the guest's own system.
      type: str
      sample: plug
    target:
      description: Which state it changes, V(live), V(config) or V(guest), that of the guest's own system.
      type: str
      sample: live
    vcpus:
      description: The ids of the vCPUs that this step moves at once.
      type: str
      sample: "6"
    status:
      description:
        - V(planned) in check mode; V(done).
        - V(pending) when the guest was asked and has not answered, V(refused) when it said no.
        - V(failed) for any other failure, V(undone) when O(on_failure=rollback) took it back,
          V(skipped) when an earlier step failed.
      type: str
      sample: done
    seconds:
      description: How long it took.
      type: float
      sample: 0.137
    detail:
      description: What there is to say of it, V("") mostly.
      type: str
      sample: ""
guest:
  description: Who the guest is.
  returned: when the guest could be observed
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
  description: All vCPUs the machine can have, by id, as they are when the task ends; in check mode, as they would be.
  returned: when the guest could be observed; with O(details=changed) those that were changed
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
nodes:
  description: The guest's NUMA nodes that can have vCPUs.
  returned: as RV(vcpus)
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
  returned: when the guest could be observed
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
  returned: when the guest could be observed and O(details) is V(full)
  type: str
  sample: |
    <vcpus>
      <vcpu id="0" state="enabled" cell="0"/>
    </vcpus>
migration:
  description: What a migration of this guest has to know.
  returned: when the guest could be observed and O(details) is V(full)
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
        - Empty where it cannot be told, as for a guest with NUMA nodes without O(domain_xml), for the monitor does not
          tell of their memory.
      type: list
      elements: str
      sample: ["-smp", "cpus=2,maxcpus=4,sockets=1,cores=4,threads=1"]
diff:
  description: The states before and after, one line for each vCPU.
  returned: when the guest could be observed
  type: dict
  contains:
    before:
      description: As it was found.
      type: str
    after:
      description: As it is, or in check mode would be.
      type: str
backup_file:
  description: The file that O(backup=true) kept.
  returned: when O(domain_xml) was written with O(backup=true)
  type: str
  sample: /etc/guests/web1.xml.4711.2026-11-22@14:05:07~
error_code:
  description: What failed, for programs; RV(msg) says it for people, and what to do about it.
  returned: failure
  type: str
  sample: unplug_refused
msg:
  description: What failed, why, and what to do about it.
  returned: failure
  type: str
"""

from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import VcpuModule
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.vcpu import run_vcpu
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import (
    DETAILS_OPTION,
    HOST_OPTIONS,
    VCPU_SPEC,
    WISH_CONSTRAINTS,
)


def main() -> None:
    """Run the module."""
    run_vcpu(
        VcpuModule(
            argument_spec={**VCPU_SPEC, **HOST_OPTIONS, **DETAILS_OPTION},
            supports_check_mode=True,
            **WISH_CONSTRAINTS,
        )
    )


if __name__ == "__main__":
    main()
