# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout does on one hypervisor before and after its guests are changed: plan, record, verify.

A step inspects guests at most once, and changes none: the role does that, between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .desired import Row, desired_rows
from .record_file import read_record, write_record
from .rollout_plan import outcome_rows, plan_rows, problems, results_of
from .rollout_record import (
    Record,
    begin_attempts,
    changed_guests,
    config_to_revert,
    end_attempts,
    revert_plan,
)

Batch = Mapping[str, Any]
# What ``vcpu_batch`` returns in check mode for these guests, with ``unreachable`` if the hypervisor is.
Inspect = Callable[[Sequence[Mapping[str, Any]]], Batch]

NOTHING: Batch = {"skipped": True}


class StepFailed(Exception):
    """Guests that cannot be changed or are not as desired, or a record that cannot be read or written."""

    def __init__(self, msg: str, rows: Sequence[Row] | None = None) -> None:
        super().__init__(msg)
        self.msg = msg
        self.result = {"msg": msg} if rows is None else {"msg": msg, "rows": list(rows)}


@dataclass(frozen=True)
class RecordFile:
    """The record of a rollout on a hypervisor, in its file, which is not written in ``check_mode``."""

    path: Path
    rollout: str
    hypervisor: str
    check_mode: bool

    def read(self) -> Record:
        """Return the record, a new one without guests if there is none."""
        try:
            found = read_record(self.path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise StepFailed(f"cannot read the record {self.path} on the controller: {reason}; correct that") from None
        return found or {"rollout_id": self.rollout, "hypervisor": self.hypervisor, "guests": {}}

    def write(self, record: Record) -> None:
        """Write the record, unless the file has it."""
        if record == self.read():
            return
        try:
            write_record(self.path, record, self.check_mode)
        except OSError as error:
            raise StepFailed(
                f"cannot write the record {self.path} on the controller: {error.strerror}; nothing was written, so "
                "correct that, or set rollout_state_dir to a folder in which this user may write"
            ) from None


def plan(
    guests: Sequence[Any],
    defaults: Mapping[str, Any],
    hostvars: Mapping[str, Any],
    hypervisor: str,
    inspect: Inspect,
    known: Sequence[Row] = (),
) -> list[Row]:
    """Return a row for each guest: how it is, what a batch would change, and what prevents that."""
    rows = desired_rows(guests, defaults, hostvars, hypervisor, known)
    valid = [row["desired"] for row in rows if not row["blocker"]]
    return plan_rows(rows, inspect(valid) if valid else NOTHING)


def begin(rows: Sequence[Row], stopping: Sequence[str], file: RecordFile) -> None:
    """Record the state of the guests and the changes of the plan ``rows``.

    ``stopping`` are the values of ``blocked_by`` with which nothing is changed on this hypervisor.
    """
    blocked = [row for row in rows if row["blocked_by"] in stopping]
    if blocked:
        raise StepFailed(
            f"nothing was changed on {file.hypervisor}, because its plan has been blocked since the preflight: "
            + "; ".join(problems(blocked)),
            rows,
        )
    try:
        file.write(begin_attempts(file.read(), rows, _now()))
    except StepFailed as failure:
        raise StepFailed(failure.msg, rows) from None


def end(rows: Sequence[Row], applied: Batch, file: RecordFile, inspect: Inspect) -> None:
    """Record what the batch ``applied`` did of the plan ``rows``, and require that each guest is as desired.

    The guests are planned once more: a second plan must have no steps. In check mode, no guest has been changed.
    """
    planned = [row for row in rows if not row["blocker"]]
    results = results_of(planned, applied)
    if not file.check_mode:
        file.write(end_attempts(file.read(), rows, [results]))
    failed = [row for row in outcome_rows(planned, [results], "changed") if row["failed"]]
    if failed:
        raise StepFailed("; ".join(problems(failed)))
    if file.check_mode:
        return
    found = plan_rows(planned, inspect([row["desired"] for row in planned]))
    blocked = problems(row for row in found if row["blocker"])
    changing = [f"{row['guest']} still needs {row['steps']}" for row in found if row["changed"]]
    if blocked or changing:
        raise StepFailed(f"not in the desired state after the change: {'; '.join(blocked + changing)}")


def finish(rows: Sequence[Row], applied: Batch, completed: bool, file: RecordFile) -> list[Row]:
    """Return the rows with their outcome; close the record if the rollout is ``completed`` on all hypervisors."""
    results = results_of([row for row in rows if not row["blocker"]], applied)
    found = outcome_rows(rows, [results], "would change" if file.check_mode else "changed")
    try:
        record = file.read()
        if completed and record["guests"] and "completed" not in record:
            file.write({**record, "completed": _now()})
    except StepFailed as failure:
        raise StepFailed(failure.msg, found) from None
    return found


def begin_revert(file: RecordFile, inspect: Inspect) -> dict[str, Any]:
    """Return what reverts the rollout, as ``revert_plan`` does, and record it."""
    record = file.read()
    guests = changed_guests(record)
    seen = inspect([one["desired"] for one in guests]) if guests else NOTHING
    found = revert_plan(record, seen, file.hypervisor)
    if guests:
        file.write(begin_attempts(record, found["rows"], _now(), "revert"))
    return found


def end_revert(undo: Mapping[str, Any], batches: Mapping[str, Batch], file: RecordFile, inspect: Inspect) -> list[Row]:
    """Return the rows of ``undo``, what ``begin_revert`` returned, with their outcome, and record it.

    ``batches`` has the batch that reverted each scope.
    """
    guests = {**undo, "config": config_to_revert(undo, batches["live"])}
    results = [results_of(guests[scope], batch) for scope, batch in batches.items()]
    if not file.check_mode and any(row["changed"] for row in undo["rows"]):
        record = file.read()
        changed = changed_guests(record)
        state = results_of(changed, inspect([one["desired"] for one in changed]))
        file.write(end_attempts(record, undo["rows"], [*results, state]))
    return outcome_rows(undo["rows"], results, "would revert" if file.check_mode else "reverted")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()
