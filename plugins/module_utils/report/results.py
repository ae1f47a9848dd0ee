# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules return of a run: of one guest, and of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.report.guest import guest_report, state_lines

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.batch import Job
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.guest import Convergence


def batch_report(jobs: Sequence[Job]) -> dict[str, Any]:
    """Return what ``vcpu_batch`` returns: each guest as ``vcpu`` would, and how many fared how."""
    guests = [
        {
            "item": job.ref.label,
            "failed": job.result.error is not None,
            "skipped": job.skipped,
            "msg": "" if job.result.error is None else job.result.error.msg,
            "warnings": list(job.result.warnings),
            **convergence_report(job.result),
        }
        for job in jobs
    ]
    diffs = [
        {**guest.pop("diff"), "before_header": guest["item"], "after_header": guest["item"]}
        for guest in guests
        if "diff" in guest
    ]
    changed = sum(guest["changed"] for guest in guests)
    failed = sum(guest["failed"] for guest in guests)
    skipped = sum(guest["skipped"] for guest in guests)
    settled = sum(not (guest["changed"] or guest["failed"] or guest["skipped"]) for guest in guests)
    return {
        "changed": changed > 0,
        "guests": guests,
        "summary": {
            "guests": len(guests),
            "changed": changed,
            "unchanged": settled,
            "failed": failed,
            "skipped": skipped,
        },
        "diff": diffs,
    }


def convergence_report(result: Convergence) -> dict[str, Any]:
    """Return what ``vcpu`` returns, after a success, a prediction or a failure, as far as it is known."""
    report: dict[str, Any] = {"changed": result.changed}
    if result.after is not None:
        report.update(guest_report(result.after))
    report["steps"] = [entry.result() for entry in result.journal.entries] if result.journal is not None else []
    if result.before is not None and result.after is not None:
        states = result.before.state, result.after.state
        before, after = (state_lines(state, with_online=result.by_agent) for state in states)
        report["diff"] = {"before": before, "after": after}
    if result.journal is not None and result.journal.backup_file is not None:
        report["backup_file"] = result.journal.backup_file
    if result.error is not None:
        report["error_code"] = result.error.code
    return report
