# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of the run of one guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.model import CHANGED, FULL
from ansible_collections.kvm.hotplug.plugins.module_utils.report.diff import state_lines
from ansible_collections.kvm.hotplug.plugins.module_utils.report.guest import guest_report

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestState
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.convergence import Convergence


def convergence_report(result: Convergence, details: str | None = None) -> dict[str, Any]:
    """Return the results of ``vcpu``, after a success, a prediction or a failure, as far as they are known.

    Without ``details`` a success returns everything about the guest, a failure only what was changed.
    """
    details = details or (FULL if result.error is None else CHANGED)
    changed = _changed_vcpus(result)
    report: dict[str, Any] = {"changed": result.changed}
    if result.after is not None:
        report.update(guest_report(result.after, details, changed))
    report["steps"] = [entry.result() for entry in result.journal.entries] if result.journal is not None else []
    if result.before is not None and result.after is not None:
        only = None if details == FULL else changed
        states = result.before.state, result.after.state
        before, after = (
            state_lines(state, result.by_agent, result.of_boot_vcpus, only, result.of_maximum) for state in states
        )
        report["diff"] = {"before": before, "after": after}
    if result.journal is not None and result.journal.backup_file is not None:
        report["backup_file"] = result.journal.backup_file
    if result.error is not None:
        report["error_code"] = result.error.code
    return report


def _changed_vcpus(result: Convergence) -> frozenset[int]:
    """The vCPUs that differ before and after, and those of all steps."""
    found: set[int] = set()
    if result.before is not None and result.after is not None:
        for before, after in zip(_enabled_sets(result.before.state), _enabled_sets(result.after.state)):
            found |= before ^ after
    if result.journal is not None:
        found.update(vcpu for entry in result.journal.entries for vcpu in entry.step.vcpus)
    return frozenset(found)


def _enabled_sets(state: GuestState) -> list[frozenset[int]]:
    scopes = (state.live, state.config, state.online)
    return [frozenset() if scope is None else scope.enabled for scope in scopes]
