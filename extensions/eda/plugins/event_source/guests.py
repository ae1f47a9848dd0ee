# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source kvm.hotplug.guests of ansible-rulebook."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

DOCUMENTATION = r"""
short_description: Events of QEMU guests not managed by libvirt
description:
  - Reports what happens to guests, as QEMU reports it over QMP, each event with the options that name the guest.
  - QEMU serves one client per QMP socket. Give each guest a further C(-qmp) socket for this plugin alone.
options:
  guests:
    description:
      - The guests to watch. Each is a dictionary with O(guests[].events_socket), the QMP socket for this plugin alone,
        and the options with which a rule names the guest for C(kvm.hotplug.vcpu), which each event contains.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- kvm.hotplug.guests:
    guests:
      - qmp_socket: /run/guests/web1.qmp
        events_socket: /run/guests/web1-events.qmp
"""


def _find_collections() -> None:
    """Make this collection importable: ansible-rulebook runs this file, and has no collection on its path."""
    root = next((parent for parent in Path(__file__).absolute().parents if parent.name == "ansible_collections"), None)
    if root is not None and str(root.parent) not in sys.path:
        sys.path.append(str(root.parent))


async def main(queue: asyncio.Queue[Any], args: dict[str, Any]) -> None:
    """Put the events of ``guests`` into ``queue`` until cancelled; raises ``HotplugError`` for invalid options."""
    _find_collections()
    from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.source import watch_all

    await watch_all(queue, args)
