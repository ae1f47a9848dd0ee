# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that draws a guest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ansible_collections.kvm.hotplug.plugins.plugin_utils.drawing import draw

DOCUMENTATION = r"""
name: drawing
short_description: Draw a guest's vCPUs in the terminal
version_added: 0.1.0
author:
  - the kvm.hotplug authors (@kvm-hotplug)
description:
  - Draws NUMA nodes as boxes, in them sockets and cores, and each vCPU with its state.
positional: _input
options:
  _input:
    description:
      - What M(kvm.hotplug.vcpu) returned, or one of the guests that M(kvm.hotplug.vcpu_info) returned.
    type: dict
    required: true
seealso:
  - module: kvm.hotplug.vcpu
  - module: kvm.hotplug.vcpu_info
"""

EXAMPLES = r"""
- name: Look at a guest
  kvm.hotplug.vcpu_info:
    qmp_socket: /run/guests/web1/qmp.sock
  register: info

- name: Draw it (with callback_result_format = yaml in ansible.cfg the lines stand below one another)
  ansible.builtin.debug:
    msg: "{{ info.guests[0] | kvm.hotplug.drawing }}"
"""

RETURN = r"""
_value:
  description: The picture, in lines of at most 100 characters.
  type: str
"""


def drawing(report: Any) -> str:
    """Return the picture of ``report``; raises ``AnsibleFilterError`` when it is no result of this collection."""
    if not isinstance(report, Mapping) or not {"guest", "vcpus", "sparse"} <= set(report):
        raise AnsibleFilterError(
            "kvm.hotplug.drawing draws what kvm.hotplug.vcpu returned, or one of the guests of kvm.hotplug.vcpu_info"
        )
    return draw(report)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"drawing": drawing}
