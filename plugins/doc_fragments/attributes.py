# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared documentation: the attributes of the modules."""

from __future__ import annotations


class ModuleDocFragment:
    """The attributes of every module here."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what it would change, without changing anything.
  diff_mode:
    description: Returns details on what has changed, or would change in C(check_mode), when in diff mode.
  action_group:
    description: Use C(group/kvm.hotplug.vcpu) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - kvm.hotplug.vcpu
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Never changes anything.
  diff_mode:
    support: N/A
"""
