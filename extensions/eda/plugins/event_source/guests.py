# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source kvm.hotplug.guests of ansible-rulebook."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

DOCUMENTATION = r"""
---
short_description: Events of libvirt guests, and of QEMU guests not managed by libvirt
description:
  - Reports what happens to guests, as libvirt and QEMU report it, and their load.
  - Each event is a dictionary. RV(ignore:kind) is what has happened, RV(ignore:guest) is the label of the guest, and
    RV(ignore:options) are the options of the guest's entry in O(guests), except O(guests[].events_socket), so that a
    rule can pass them to C(kvm.hotplug.vcpu_batch). C(docs/events.md) of the collection lists the kinds.
  - It connects again when a QEMU or a libvirt daemon was away, after pauses of 0.5 to 10 seconds, and connects to a
    guest that appears later.
version_added: 1.0.0
options:
  guests:
    description:
      - The guests to watch. Each is a dictionary of the options of C(kvm.hotplug.vcpu), among them those that name the
        guest. Include its desired state, so that a rule can apply it.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The name or UUID of a libvirt guest.
        type: str
      uri:
        description:
          - The libvirt daemon of the guest of O(guests[].name), on a read-write connection.
        type: str
        default: qemu:///system
      events_socket:
        description:
          - A QMP socket of a QEMU guest not managed by libvirt, a path or C(HOST:PORT).
          - Required without O(guests[].name).
          - QEMU serves one client at a time on each QMP socket, and this plugin stays connected. Therefore it must be
            another one than O(ignore:qmp_socket), which the modules use.
        type: str
  statistics:
    description:
      - The interval in seconds of the events of the kind C(statistics), from 1 to 86400. By default there are none.
    type: float
requirements:
  - python >= 3.9
  - qemu.qmp >= 0.0.6, for O(guests[].events_socket)
  - libvirt-python >= 9.0, for O(guests[].name)
"""

EXAMPLES = r"""
- name: Apply the desired state of guests that were started
  hosts: localhost
  sources:
    - kvm.hotplug.guests:
        guests:
          - name: web1
            enabled: 0-3,6
            scope: live
          - qmp_socket: /run/guests/db1/qmp.sock
            events_socket: /run/guests/db1/events.sock
            count: 4
            scope: live
  rules:
    - name: A guest was started
      condition: event.kind == "started"
      action:
        run_playbook:
          name: kvm.hotplug.apply
          extra_vars:
            # A host of the inventory, on which the modules reach the guests.
            kvm_hotplug_host: kvm1
            kvm_hotplug_guest: "{{ event.options }}"
"""

_SOURCE = "ansible_collections.kvm.hotplug.plugins.plugin_utils.events.source"


async def main(queue: asyncio.Queue[Any], args: dict[str, Any]) -> None:
    """Put the events of the guests into ``queue`` until cancelled; raises ``HotplugError`` for invalid options."""
    _find_collection()
    from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.source import watch_all

    await watch_all(queue, args)


def _find_collection() -> None:
    """Make this collection importable: ansible-rulebook runs this file, and has no collection on its path.

    Another event source may have imported ``ansible_collections`` from elsewhere.
    """
    root = next((parent for parent in Path(__file__).absolute().parents if parent.name == "ansible_collections"), None)
    if root is not None and not _is_importable():
        sys.path.insert(0, str(root.parent))
        importlib.invalidate_caches()


def _is_importable() -> bool:
    try:
        return importlib.util.find_spec(_SOURCE) is not None
    except ModuleNotFoundError:
        return False
