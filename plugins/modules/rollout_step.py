#!/usr/bin/python
# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan, record, verify or audit the guests on one hypervisor, which the action plugin of the same name does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_step
short_description: Plan, record, verify or audit the guests on one hypervisor, for the roles
version_added: 1.0.0
description:
  - Does what the role P(kvm.hotplug.rollout#role) does before and after it changes the guests on a hypervisor, and what
    the role P(kvm.hotplug.audit#role) does. It is private to these roles, is not meant for other playbooks, and may
    change in any release.
  - Inspects guests by M(kvm.hotplug.vcpu_batch) in check mode and by M(kvm.hotplug.vcpu_info), so it changes no guest.
    Reads and writes the record of the rollout on this hypervisor, a file on the controller that always has a whole
    record.
options:
  step:
    description:
      - V(plan) plans the changes of the guests.
      - V(begin) plans again, and records the state of the guests and the planned changes.
      - V(end) records the outcome of a batch, and fails if a guest failed or is not in its desired state.
      - V(finish) returns the outcome of each guest, and closes the record of a completed rollout.
      - V(begin_revert) plans how the changes in the record are reverted, and records that.
      - V(end_revert) records the outcome of the revert.
      - V(audit) inspects all guests at some places, and returns their drift and that of the planned guests.
    type: str
    choices: [plan, begin, end, finish, begin_revert, end_revert, audit]
    required: true
  guests:
    description:
      - The desired state of each guest, for V(plan) and V(begin).
    type: list
    elements: raw
    default: []
  options:
    description:
      - Further options of M(kvm.hotplug.vcpu_batch).
    type: dict
    default: {}
  rows:
    description:
      - The rows of an earlier step.
    type: list
    elements: dict
    default: []
  stopping:
    description:
      - With these blockers of a guest, V(begin) fails.
    type: list
    elements: str
    default: []
  applied:
    description:
      - The result of the batch that changed the guests, for V(end) and V(finish).
    type: dict
    default: {}
  completed:
    description:
      - Whether all guests of the rollout are in their desired state, for V(finish).
    type: bool
    default: false
  undo:
    description:
      - What V(begin_revert) returned, for V(end_revert).
    type: dict
    default: {}
  undone:
    description:
      - The results of the batches that reverted C(live), C(config) and C(online), for V(end_revert).
    type: dict
    default: {}
  uris:
    description:
      - The libvirt daemons whose guests V(audit) inspects.
    type: list
    elements: str
    default: []
  qmp_sockets:
    description:
      - Shell patterns of the QMP sockets whose guests V(audit) inspects.
    type: list
    elements: str
    default: []
  record:
    description:
      - The file of the record, which only the user who runs Ansible can read. Folders that do not exist are created
        with mode 0700. Required for all steps but V(plan) and V(audit).
    type: path
  rollout:
    description:
      - The name of the rollout. Required for all steps but V(plan) and V(audit).
    type: str
author:
  - the kvm.hotplug authors (@kvm-hotplug)
attributes:
  action:
    description: Whether this is an action plugin, which runs on the controller.
    support: full
  check_mode:
    description: Whether check mode changes nothing and returns what a run would.
    support: full
    details: In check mode, no record is written.
  diff_mode:
    description: Whether it returns the difference in diff mode.
    support: none
  idempotent:
    description: Whether a second run with the same options changes nothing.
    support: full
    details: It changes no guest. C(changed) is always false.
  platform:
    description: The systems on which it runs.
    support: full
    platforms: posix
"""

EXAMPLES = r"""
- name: Plan the changes of the guests on this hypervisor
  kvm.hotplug.rollout_step:
    step: plan
    guests:
      - {name: web1, count: 4}
"""

RETURN = r"""
report:
  description:
    - C(guests), a row for each guest with its drift, and C(failures), a row for each place whose guests could not be
      inspected.
  returned: for V(audit)
  type: dict
rows:
  description: What is planned for each guest, or its outcome.
  returned: for V(plan), V(begin), V(finish) and V(end_revert)
  type: list
  elements: dict
summary:
  description: How many guests the step inspected, and how many of them failed or were skipped.
  returned: always
  type: dict
undo:
  description: The options of batches that revert C(live), C(config) and C(online), and C(rows).
  returned: for V(begin_revert)
  type: dict
"""
