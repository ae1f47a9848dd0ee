#!/usr/bin/python
# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the record of a rollout; the action plugin of the same name does it, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_record
short_description: Write the record of a rollout on the controller
version_added: 1.0.0
description:
  - Writes a record as JSON into a file on the controller in one step, so that the file always has a whole record.
  - The role P(kvm.hotplug.rollout#role) uses this. It is not meant for other playbooks, and may change with the format
    of the records.
options:
  path:
    description:
      - The file, which only the user who runs Ansible can read. Folders that do not exist are created with mode 0700.
    type: path
    required: true
  record:
    description:
      - The record.
    type: dict
    required: true
author:
  - the kvm.hotplug authors (@kvm-hotplug)
attributes:
  action:
    description: Whether this is an action plugin, which runs on the controller.
    support: full
  check_mode:
    description: Whether check mode changes nothing and returns whether a run would.
    support: full
  diff_mode:
    description: Whether it returns the difference in diff mode.
    support: none
  idempotent:
    description: Whether a second run with the same options changes nothing.
    support: full
  platform:
    description: The systems on which it runs.
    support: full
    platforms: posix
"""

EXAMPLES = r"""
- name: Write the record of a hypervisor
  kvm.hotplug.rollout_record:
    path: /var/lib/rollouts/a41c/kvm1.json
    record: {rollout_id: a41c, hypervisor: kvm1, guests: {}}
"""

RETURN = r"""
"""
