# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules share: how to name a guest, and what is returned of it."""

from __future__ import annotations


class ModuleDocFragment:
    """The options that name a guest, and the results that describe it."""

    DOCUMENTATION = r"""
options:
  qmp_socket:
    description:
      - The monitor of a QEMU that libvirt does not run, as started with C(-qmp unix:PATH,server=on,wait=off)
        or C(-qmp tcp:HOST:PORT,server=on,wait=off).
      - A path, or C(HOST:PORT); write IPv6 addresses as C([ADDRESS]:PORT).
      - QEMU serves one client at a time on each monitor. Give it one of its own for this collection.
      - At least one of O(qmp_socket) and O(domain_xml) is required. When both are given and nobody listens at the
        monitor, the guest is taken to be shut off, with a warning.
    type: str
  domain_xml:
    description:
      - The file that holds the guest's config state, what its next boot has, as libvirt's domain XML.
      - Alone, it is a guest that is shut off.
    type: path
  probe:
    description:
      - Whether a throw-away QEMU, started paused and without disks or network, may be asked which vCPUs the guest of
        O(domain_xml) can have.
    type: str
    choices:
      auto: Only where that cannot be foretold from the XML, which it can for pc, q35, pseries and s390x machines.
      never: Not at all; such a guest is then an error.
      always: Every time. Its answer is kept, and asked for again when the QEMU or its arguments change.
    default: auto
  emulator:
    description:
      - The QEMU to ask, instead of the one that O(domain_xml) names as C(<emulator>).
    type: path
  timeout:
    description:
      - How many seconds the guest may take over one step, and QEMU over one answer.
    type: float
    default: 60.0
requirements:
  - python >= 3.9
  - qemu.qmp >= 0.0.6, for O(qmp_socket)
  - lxml, for O(domain_xml)
"""
