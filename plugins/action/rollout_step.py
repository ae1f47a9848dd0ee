# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action ``kvm.hotplug.rollout_step``: what the roles ``rollout`` and ``audit`` do beside changing guests.

Each task takes Ansible 0.05 to 0.1 s of CPU time on the controller for each hypervisor, whatever it does. Therefore a
step validates, inspects, plans and records in one task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.kvm.hotplug.plugins.plugin_utils import rollout_steps
from ansible_collections.kvm.hotplug.plugins.plugin_utils.audit import audit_report
from ansible_collections.kvm.hotplug.plugins.plugin_utils.guest_state import plain
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_steps import RecordFile, StepFailed

_DICT = {"type": "dict", "default": {}}
_LIST = {"type": "list", "elements": "dict", "default": []}
_OPTIONS = {
    "step": {"required": True, "choices": ["plan", "begin", "end", "finish", "begin_revert", "end_revert", "audit"]},
    # An item may be anything: a guest whose desired state is no dictionary has a row that says so.
    "guests": {"type": "list", "elements": "raw", "default": []},
    "options": _DICT,
    "rows": _LIST,
    "stopping": {"type": "list", "elements": "str", "default": []},
    "applied": _DICT,
    "completed": {"type": "bool", "default": False},
    "undo": _DICT,
    "undone": _DICT,
    "uris": {"type": "list", "elements": "str", "default": []},
    "qmp_sockets": {"type": "list", "elements": "str", "default": []},
    "record": {"type": "path"},
    "rollout": {"type": "str"},
}
_WITH_RECORD = ("begin", "end", "finish", "begin_revert", "end_revert")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Ansible's entry point."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(
            _OPTIONS, required_if=[("step", step, ("record", "rollout")) for step in _WITH_RECORD]
        )
        self._options: dict[str, Any] = plain(options)
        self._vars: dict[str, Any] = task_vars or {}
        self._check_mode = bool(self._task.check_mode)
        # Of the modules that the step runs: what Ansible and the callback kvm.hotplug.progress report.
        self._reported: dict[str, Any] = {"summary": {"guests": 0, "failed": 0, "skipped": 0}}
        try:
            found = getattr(self, f"_{self._options['step']}")()
        except StepFailed as failure:
            found = {"failed": True, **failure.result}
        return {**result, **self._reported, "changed": False, **found}

    def _plan(self) -> dict[str, Any]:
        return {"rows": self._planned()}

    def _begin(self) -> dict[str, Any]:
        rows = self._planned()
        rollout_steps.begin(rows, self._options["stopping"], self._file())
        return {"rows": rows}

    def _end(self) -> dict[str, Any]:
        rollout_steps.end(self._options["rows"], self._options["applied"], self._file(), self._inspect)
        return {}

    def _finish(self) -> dict[str, Any]:
        rows, applied, completed = (self._options[name] for name in ("rows", "applied", "completed"))
        return {"rows": rollout_steps.finish(rows, applied, completed, self._file())}

    def _begin_revert(self) -> dict[str, Any]:
        return {"undo": rollout_steps.begin_revert(self._file(), self._inspect)}

    def _end_revert(self) -> dict[str, Any]:
        undo, undone = self._options["undo"], self._options["undone"]
        return {"rows": rollout_steps.end_revert(undo, undone, self._file(), self._inspect)}

    def _audit(self) -> dict[str, Any]:
        inspections = [{**self._run("vcpu_info", {"uri": uri}), "item": uri} for uri in self._options["uris"]]
        if self._options["qmp_sockets"]:
            inspections.append(self._run("vcpu_info", {"qmp_sockets": self._options["qmp_sockets"]}))
        report = audit_report(self._options["rows"], inspections, self._vars["inventory_hostname"])
        failed = len([guest for guest in report["guests"] if guest["error_code"]])
        return {"report": report, "summary": {"guests": len(report["guests"]), "failed": failed, "skipped": 0}}

    def _planned(self) -> list[dict[str, Any]]:
        return rollout_steps.plan(
            self._options["guests"],
            self._options["options"].get("defaults", {}),
            self._vars["hostvars"],
            self._vars["inventory_hostname"],
            self._inspect,
            self._options["rows"],
        )

    def _file(self) -> RecordFile:
        path, rollout = Path(self._options["record"]), self._options["rollout"]
        return RecordFile(path, rollout, self._vars["inventory_hostname"], self._check_mode)

    def _inspect(self, guests: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Run ``vcpu_batch`` in check mode."""
        return self._run("vcpu_batch", {**self._options["options"], "guests": list(guests), "details": "full"})

    def _run(self, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return what a module of the collection returns in check mode on the hypervisor, also if it failed."""
        task: Any = self._task
        self._task: Any = task.copy()
        self._task.check_mode, self._task.diff = True, False
        try:
            found: dict[str, Any] = self._execute_module(f"kvm.hotplug.{module}", arguments, task_vars=self._vars)
        except AnsibleConnectionFailure as error:
            return {"unreachable": True, "msg": str(error)}
        finally:
            self._task = task
        for name in ("warnings", "deprecations"):
            if found.get(name):
                self._reported[name] = [*self._reported.get(name, ()), *found[name]]
        self._reported.update({name: found[name] for name in ("summary", "ansible_facts") if name in found})
        return found
