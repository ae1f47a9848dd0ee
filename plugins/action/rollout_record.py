# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action ``kvm.hotplug.rollout_record``, which writes a record on the controller.

A rollout writes three records for each hypervisor. ``ansible.builtin.copy`` would start two modules for each of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.kvm.hotplug.plugins.plugin_utils.record_file import write_record


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Write a record, unless its file has it already."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(
            {"path": {"type": "path", "required": True}, "record": {"type": "dict", "required": True}}
        )
        path = Path(options["path"])
        try:
            changed = write_record(path, options["record"], self._task.check_mode)
        except OSError as error:
            raise AnsibleActionFail(
                f"cannot write the record {path} on the controller: {error.strerror}; nothing was written, so correct "
                "that, or set rollout_state_dir to a folder in which this user may write"
            ) from None
        return {**result, "changed": changed}
