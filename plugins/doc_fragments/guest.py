# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared documentation: the options that name a guest and that limit what is returned."""

from __future__ import annotations


class ModuleDocFragment:
    """The options that name a guest, ``details``, and those of the host."""

    DOCUMENTATION = r"""
options:
  name:
    description:
      - The name, UUID or id of a libvirt guest.
      - Its vCPUs are plugged and unplugged through libvirt's own API, one entity per call, so that libvirt's record
        stays correct. Its config state is libvirt's persistent definition; a transient guest has none.
      - Either O(name) is required, or at least one of O(qmp_socket), O(agent_socket) and O(domain_xml).
    type: str
  uri:
    description:
      - The libvirt daemon of the guest of O(name). In check mode and in M(kvm.hotplug.vcpu_info) the connection is
        read-only.
      - It can be of another host, such as V(qemu+ssh://root@kvm1.example.com/system). Connecting takes at most
        O(timeout), and 30 seconds.
    type: str
    default: qemu:///system
  ask_qemu:
    description:
      - Whether to query QEMU itself, through libvirt, for its vCPUs (C(query-hotpluggable-cpus)), instead of deriving
        them from libvirt's record and from the host's statistics of the vCPUs' threads.
      - This B(taints the guest) in libvirt until its next start (C(custom-monitor)), and requires a read-write
        connection, in check mode too.
      - It adds each vCPU's alias to the results. It is needed to detect that libvirt's record differs from QEMU if all
        vCPUs share one thread (TCG with C(thread=single)).
    type: bool
    default: false
  qmp_socket:
    description:
      - The monitor of a QEMU guest not managed by libvirt, which was started with
        C(-qmp unix:PATH,server=on,wait=off) or C(-qmp tcp:HOST:PORT,server=on,wait=off).
      - A path, or C(HOST:PORT); write IPv6 addresses as C([ADDRESS]:PORT).
      - QEMU serves one client at a time on each monitor. Configure a monitor that only this collection uses.
      - If O(domain_xml) is set too and no process listens at the monitor, the module assumes that the guest is shut
        off, and warns. If it finds a process that shows that the guest's QEMU still runs, the task fails.
    type: str
  agent_socket:
    description:
      - The guest agent of a QEMU guest not managed by libvirt, by the socket of its port C(org.qemu.guest_agent.0), a
        path or C(HOST:PORT). It serves one client at a time.
      - With it, RV(ignore:vcpus[].online) shows whether the guest OS runs on each vCPU. For a guest of O(name) the
        module uses libvirt's channel to the agent. libvirt allows that only on read-write connections, so C(online) is
        null in M(kvm.hotplug.vcpu_info) and in check mode.
      - As the only option that names the guest, it is for O(ignore:method=agent).
    type: str
  domain_xml:
    description:
      - The file that contains the guest's config state, that of its next boot, as libvirt's domain XML.
      - As the only option that names the guest, it means that the guest is shut off.
      - Its C(<domain>) has the type C(qemu) or C(kvm), or none.
      - If O(probe) requires a QEMU, it is the C(<emulator>) of this file, but only if no user other than root and the
        task's user may write the file, the binary, or a folder in the path of either.
    type: path
  probe:
    description:
      - Whether to start a temporary QEMU, paused and without disks or network, to query which vCPUs the guest of
        O(domain_xml) or O(name) can have.
      - It runs as the user that the task runs as, also in check mode and for M(kvm.hotplug.vcpu_info), and ends with
        the task.
    type: str
    choices:
      auto: Only if the vCPUs cannot be derived from the XML. They can for pc, q35, pseries and s390x machines.
      never: Never. A guest that would need it is an error.
      always: Always. The reply is cached until the QEMU or its arguments change.
    default: auto
  emulator:
    description:
      - The QEMU binary to start for O(probe), instead of the C(<emulator>) of the domain XML.
      - It is started without a check of who may write it or the XML, and the C(<emulator>) is not started.
    type: path
  timeout:
    description:
      - The maximum duration in seconds of one step of the guest, and of one reply of QEMU.
    type: float
    default: 60.0
requirements:
  - python >= 3.9
  - qemu.qmp >= 0.0.6, for O(qmp_socket) and O(agent_socket)
  - lxml, for O(domain_xml) and O(name)
  - libvirt-python >= 9.0, for O(name)
"""

    DETAILS = r"""
options:
  details:
    description:
      - How many details of each guest to return. Failures, C(changed), C(steps) and C(guest) are always returned.
      - By default V(full) for M(kvm.hotplug.vcpu_info) and for a successful task of M(kvm.hotplug.vcpu), and V(changed)
        for a failed task of M(kvm.hotplug.vcpu) and for M(kvm.hotplug.vcpu_batch).
    type: str
    choices:
      full: All vCPUs and nodes, C(xml), C(migration) and C(qemu_args).
      changed: >-
        The vCPUs that were changed, or that a step is about, and their nodes; from M(kvm.hotplug.vcpu_info) those
        whose live and config states differ.
      none: No vCPUs and no nodes.
"""

    HOST = r"""
options:
  max_overcommit:
    description:
      - The maximum number of enabled vCPUs per host CPU, over all known running guests of the host. For libvirt guests,
        these are all guests of the daemon. It is checked after planning and before anything is changed, and only if
        vCPUs are added.
    type: float
  overcommit:
    description:
      - What to do if O(max_overcommit) would be exceeded.
    type: str
    choices:
      warn: Continue, with a warning.
      fail: Fail with RV(ignore:error_code=conflicting_request), and add no vCPU to any guest of that host.
    default: warn
"""
