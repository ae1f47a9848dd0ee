# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of ``vcpu_batch``: those of each guest, their number by outcome, and one message for all failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, printable
from ansible_collections.kvm.hotplug.plugins.module_utils.model import CHANGED
from ansible_collections.kvm.hotplug.plugins.module_utils.report.results import convergence_report

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.batch import Job

# The message of a batch contains at most so many reasons, with so many guests each; its results contain all.
_MOST_REASONS = 5
_MOST_NAMES = 10
_LONGEST_REASON = 400


def batch_report(jobs: Sequence[Job], details: str | None = None) -> dict[str, Any]:
    """Return the results of ``vcpu_batch``: those of ``vcpu`` for each guest, and the number of guests by outcome."""
    guests = [
        {
            "item": job.ref.label,
            "failed": job.result.error is not None,
            "skipped": job.skipped,
            "msg": "" if job.result.error is None else job.result.error.msg,
            "warnings": list(job.result.warnings),
            **convergence_report(job.result, details or CHANGED),
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


def batch_failure(jobs: Sequence[Job]) -> HotplugError | None:
    """Return the error of a batch in which guests failed: each reason once, with its guests.

    It has the code of the first guest that failed. None if none failed.
    """
    failed = [(job.ref.label, job.result.error) for job in jobs if job.result.error is not None]
    if not failed:
        return None
    reasons: dict[tuple[str, str], list[str]] = {}
    for label, error in failed:
        reasons.setdefault((error.code, error.msg), []).append(label)
    listed = [
        f"{_names(labels)} ({code}): {printable(msg, _LONGEST_REASON)}"
        for (code, msg), labels in list(reasons.items())[:_MOST_REASONS]
    ]
    if len(reasons) > _MOST_REASONS:
        listed.append(f"and {len(reasons) - _MOST_REASONS} other reasons, see msg of each guest in guests")
    return HotplugError(failed[0][1].code, f"{len(failed)} of {len(jobs)} guests failed. {'. '.join(listed)}")


def _names(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _MOST_NAMES} more" if len(labels) > _MOST_NAMES else ""
    return f"{', '.join(labels[:_MOST_NAMES])}{more}"
