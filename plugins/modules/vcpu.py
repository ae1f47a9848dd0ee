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
  scope:
    description:
      - Which state to change.
    type: str
    choices:
      all: The state of the guest if it runs, and that of its next boot if it has a config state.
      live: The state of the running guest.
      config: The state of the next boot.
      current: The state of the running guest, or of the next boot if the guest is shut off.
    default: all
  method:
    description:
      - How vCPUs are enabled and disabled.
      - V(agent) can be combined with O(vcpus), O(enabled) and O(count), but not with O(nodes) or O(scope=config). It
        changes only the running guest.
      - With V(agent), ids are those of the machine. The module maps them to the guest's own CPU numbers by the guest's
        sysfs, if the agent may read files. If not, it assumes that the numbers are equal if there is no gap in the ids;
        otherwise the task fails with RV(error_code=agent_error).
    type: str
    choices:
      hotplug: QEMU plugs and unplugs them.
      agent: The guest OS onlines and offlines them, on request of its agent. Nothing is plugged or unplugged.
    default: hotplug
  granularity:
    description:
      - What a vCPU id of O(vcpus) stands for, and what O(count) is composed of.
    type: str
    choices:
      thread: The single vCPU. On a machine that plugs whole cores, naming only a part of a core is an error.
      core: All threads of its core.
    default: thread
  guest_online:
    description:
      - What to wait for after a plug.
      - On x86 the guest OS acknowledges that it has detected the vCPU; this needs no agent. Only the guest agent shows
        whether the guest OS runs on it. Guests on pseries and s390x, and paused guests, acknowledge no plug.
      - With O(name), the acknowledgements are QEMU's own events, which libvirt forwards without tainting the guest.
    type: str
    choices:
      ensure:
        - Wait for the guest's acknowledgement. Without it, the task fails with RV(error_code=plug_unacknowledged).
        - If there is an agent, it onlines the vCPUs that the guest OS has not onlined itself. Without an agent, see
          O(missing_agent).
      verify: As V(ensure), but the task fails before it plugs anything if there is no agent.
      ignore: Do not wait.
    default: ensure
  missing_agent:
    description:
      - What to do if vCPUs are plugged into a guest without an agent, with O(guest_online=ensure). The module waits for
        the guest's acknowledgement in any case.
    type: str
    choices:
      warn:
        - Warn that the module cannot verify that the guest OS uses them. Linux onlines them by itself with the udev
          rule that the role P(kvm.hotplug.guest#role) installs.
      accept: Do not warn. The guest OS is known to online new CPUs by itself.
    default: warn
  drain:
    description:
      - Whether to have the guest OS offline a vCPU before it is unplugged, if the guest has an agent. The guest OS then
        reports a refusal immediately and with its reason, and nothing has changed. If the unplug fails afterwards, the
        vCPU is onlined again.
    type: bool
    default: true
  cputune:
    description:
      - What to do with the C(<cputune>) of the guest, and the C(cpuset) of its C(<vcpu>), which say on which host CPUs
        the thread of a vCPU runs (C(vcpupin)), with which scheduler (C(vcpusched)), and how much CPU time it may use
        (C(period) and C(quota)). For libvirt guests it is that of the running guest, for others that of O(domain_xml).
      - It concerns the running guest. What C(<cputune>) does not name is neither changed nor verified.
      - A thread that is not where it should be is a step C(place). If a thread cannot be placed, the task fails with
        RV(error_code=placement_failed).
    type: str
    choices:
      apply:
        - Place the threads of vCPUs as soon as they are plugged, and those of other enabled vCPUs that are not where
          they should be. libvirt itself places what it plugs; of its guests, the threads are checked, and pinned again
          if necessary.
      verify: Place nothing. If a thread is not where it should be, the task fails, before it changes anything if the
        vCPU is enabled already.
      ignore: Neither place nor verify.
    default: apply
  expected:
    description:
      - The vCPUs that are expected to be enabled before the change. If other vCPUs are enabled, the task fails with
        RV(error_code=conflicting_request) and changes nothing, unless the guest is in the desired state already.
    type: dict
    suboptions:
      live:
        description:
          - The vCPUs of the running guest, as a list of ids such as V(0-3,6).
        type: str
      config:
        description:
          - The vCPUs of its next boot, in the same format.
        type: str
  max_disable:
    description:
      - The maximum number of vCPUs that the task may disable, in the running guest or at its next boot. If the plan
        disables more, the task fails with RV(error_code=conflicting_request) and changes nothing.
    type: int
  on_failure:
    description:
      - What to do with completed steps if a later step fails.
    type: str
    choices:
      keep: Keep them. RV(steps) reports what was done.
      rollback: Undo them in reverse order, as far as the guest allows it.
    default: keep
  backup:
    description:
      - Whether to copy the file of O(domain_xml), in the same folder, before it is written. RV(backup_file) is the path
        of the copy.
    type: bool
    default: false
  xml_detail:
    description:
      - Which attributes of each vCPU to write besides its state, into a file whose C(<vcpus>) is in the RFC's dialect,
        with C(state) attributes. By default, those that the file has already. libvirt's dialect has no such attributes.
    type: str
    choices:
      minimal: None.
      numa: C(cell), the node.
      full: C(cell), C(pin) and C(scheduler).
  force:
    description:
      - Whether to make changes that are otherwise refused because they may harm the guest.
      - In the running guest, plug vCPUs even if that may end the guest. Under KVM on x86, QEMU plugs a vCPU again by
        reusing its previous KVM vCPU. If the host's KVM does not accept a vCPU that has run, QEMU exits. The module
        tests the host's KVM if the guest runs on the same host, and without O(force) such a vCPU cannot be enabled
        (RV(error_code=not_hotpluggable)). If the test is not possible, this applies to boot vCPUs over O(qmp_socket),
        and to none over libvirt.
      - O(count) prefers vCPUs without that risk. A warning names unplugged vCPUs that could not be plugged again.
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
  register: result

- name: Enable two vCPUs on node 1, now and after the next boot
  kvm.hotplug.vcpu:
    qmp_socket: /run/guests/web1/qmp.sock
    domain_xml: /etc/guests/web1.xml
    nodes:
      - id: 1
        count: 2
    backup: true

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

- name: Distinguish a refused unplug from a pending one
  ansible.builtin.debug:
    msg: "{{ result.msg }}"
  when: result.error_code | default('') in ['unplug_refused', 'unplug_pending']
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

from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import VcpuModule
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.vcpu import run_vcpu
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import (
    DESIRED_STATE_CONSTRAINTS,
    DETAILS_OPTION,
    HOST_OPTIONS,
    VCPU_SPEC,
)


def main() -> None:
    """Run the module."""
    run_vcpu(
        VcpuModule(
            argument_spec={**VCPU_SPEC, **HOST_OPTIONS, **DETAILS_OPTION},
            supports_check_mode=True,
            **DESIRED_STATE_CONSTRAINTS,
        )
    )


if __name__ == "__main__":
    main()
