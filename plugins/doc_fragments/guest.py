# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules share: how to name a guest, and what is returned of it."""

from __future__ import annotations


class ModuleDocFragment:
    """The options that name a guest, and the results that describe it."""

    DOCUMENTATION = r"""
options:
  name:
    description:
      - The name, UUID or id of a guest that libvirt runs.
      - Its vCPUs come and go through libvirt's own API, an entity at a time, and its config state is libvirt's
        persistent definition, so that libvirt always knows; a transient guest has none.
      - Either O(name) is required, or at least one of O(qmp_socket), O(agent_socket) and O(domain_xml).
    type: str
  uri:
    description:
      - The libvirt that runs the guest of O(name). In check mode, and to look, the connection is read-only.
    type: str
    default: qemu:///system
  ask_qemu:
    description:
      - Whether QEMU itself is asked, through libvirt, which vCPUs it has (C(query-hotpluggable-cpus)), instead of
        reading that from libvirt's record and from what the host's kernel counts of the vCPUs' threads.
      - For libvirt this B(taints the guest) until it is started anew (C(custom-monitor)), and it takes a connection
        that may write, in check mode too.
      - It adds each vCPU's alias to the results, and is needed where vCPUs share a thread (TCG with a single one),
        to notice that libvirt's record differs from QEMU.
    type: bool
    default: false
  qmp_socket:
    description:
      - The monitor of a QEMU that libvirt does not run, as started with C(-qmp unix:PATH,server=on,wait=off)
        or C(-qmp tcp:HOST:PORT,server=on,wait=off).
      - A path, or C(HOST:PORT); write IPv6 addresses as C([ADDRESS]:PORT).
      - QEMU serves one client at a time on each monitor. Give it one of its own for this collection.
      - When O(domain_xml) is given too and no process listens at the monitor, the guest is taken to be shut off, with a
        warning; where a process shows that its QEMU runs nevertheless, the task fails.
    type: str
  agent_socket:
    description:
      - The guest agent of a guest that libvirt does not run, by the socket of its port C(org.qemu.guest_agent.0), a
        path or C(HOST:PORT). It serves one client at a time.
      - With it, RV(ignore:vcpus[].online) says whether the guest's own system runs on each vCPU. A guest of O(name)
        needs no such option; libvirt holds its agent's channel, and only lets those ask who may also write, so that
        what only reads does not say.
      - Alone, it is a guest of which nothing else is known, for O(ignore:method=agent).
    type: str
  domain_xml:
    description:
      - The file that holds the guest's config state, what its next boot has, as libvirt's domain XML.
      - Alone, it is a guest that is shut off.
      - Its C(<domain>) has the type C(qemu) or C(kvm), or none.
      - Where O(probe) has a QEMU started, that is the C(<emulator>) of this file, but only if nobody but root and the
        task's user may write the file, the binary, or a folder on the way to either.
    type: path
  probe:
    description:
      - Whether a temporary QEMU, started paused and without disks or network, may be asked which vCPUs the guest of
        O(domain_xml) or O(name) can have.
      - It runs as the user that the task runs as, in check mode and for M(kvm.hotplug.vcpu_info) too, and is ended
        with the task.
    type: str
    choices:
      auto: Only where that cannot be derived from the XML, which it can for pc, q35, pseries and s390x machines.
      never: Not at all, and no binary that an XML names is started; a guest that would need it is then an error.
      always: Every time. Its reply is cached until the QEMU or its arguments change.
    default: auto
  emulator:
    description:
      - The QEMU to start for O(probe), instead of the one that the domain XML names as C(<emulator>).
      - It is started whoever may write it or the XML; nothing else then is.
    type: path
  timeout:
    description:
      - How many seconds the guest may take over one step, and QEMU over one answer.
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
      - How much of each guest is returned. Failures, C(changed), C(steps) and the facts of the guest are always
        returned.
      - By default V(full) for one guest where the task succeeded and for M(kvm.hotplug.vcpu_info), V(changed) for
        failures and for M(kvm.hotplug.vcpu_batch).
    type: str
    choices:
      full: All vCPUs and nodes, C(xml), C(migration) and C(qemu_args).
      changed: >-
        The vCPUs that were changed, or that a step concerned, and their nodes; of M(kvm.hotplug.vcpu_info) those on
        which live and config differ.
      none: No vCPUs and no nodes.
"""

    HOST = r"""
options:
  max_overcommit:
    description:
      - How many vCPUs each CPU of the host may bear, over all of its running guests that are known, which for a libvirt
        are all of its own. It is judged when all is planned, before anything is changed, and only where vCPUs are
        added.
    type: float
  overcommit:
    description:
      - What to do when O(max_overcommit) would be exceeded.
    type: str
    choices:
      warn: Go on, with a warning.
      fail: Add no vCPU to any guest of that host; RV(ignore:error_code=conflicting_request).
    default: warn
"""
