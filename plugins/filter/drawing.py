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
version_added: 1.0.0
author:
  - the kvm.hotplug authors (@kvm-hotplug)
description:
  - Draws NUMA nodes as boxes that contain sockets and cores, and each vCPU with its state.
positional: _input
options:
  _input:
    description:
      - The result of M(kvm.hotplug.vcpu), or one of the guests in the result of M(kvm.hotplug.vcpu_info).
    type: dict
    required: true
seealso:
  - module: kvm.hotplug.vcpu
  - module: kvm.hotplug.vcpu_info
"""

EXAMPLES = r"""
- name: Observe a guest
  kvm.hotplug.vcpu_info:
    qmp_socket: /run/guests/web1/qmp.sock
  register: info

- name: Draw the guest (set callback_result_format = yaml in ansible.cfg for one line per row)
  ansible.builtin.debug:
    msg: "{{ info.guests[0] | kvm.hotplug.drawing }}"
"""

RETURN = r"""
_value:
  description: The drawing, in lines of at most 100 characters.
  type: str
"""


def drawing(report: Any) -> str:
    """Return the drawing of ``report``; raises ``AnsibleFilterError`` if it is not a result of this collection."""
    if not isinstance(report, Mapping) or not {"guest", "vcpus", "sparse"} <= set(report):
        raise AnsibleFilterError(
            "kvm.hotplug.drawing needs a result of kvm.hotplug.vcpu, or one of the guests of kvm.hotplug.vcpu_info"
        )
    return draw(report)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"drawing": drawing}
