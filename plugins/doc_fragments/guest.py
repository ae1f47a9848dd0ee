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
    type: str
    required: true
  timeout:
    description:
      - How many seconds the guest may take over one step, and QEMU over one answer.
    type: float
    default: 60.0
requirements:
  - python >= 3.9
  - qemu.qmp >= 0.0.6
"""
