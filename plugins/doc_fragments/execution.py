# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation: the options of how the desired state of one guest is reached."""

from __future__ import annotations


class ModuleDocFragment:
    """The states to change, what to wait for, guards, and what to do after a failure."""

    DOCUMENTATION = r"""
options:
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
"""
