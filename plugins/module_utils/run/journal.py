# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a run: the outcome of each planned step, and whether anything changed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONNECTION_LOST,
    GUEST_NOT_RUNNING,
    PLUG_UNACKNOWLEDGED,
    UNPLUG_PENDING,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    ADD,
    EMPTY,
    PLACE,
    PLUG,
    REMOVE,
    UNPLUG,
    ConfigState,
    GuestState,
    OnlineState,
    Step,
    StepKind,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, PENDING, StepOutcome

PLANNED = "planned"
UNDONE = "undone"
SKIPPED = "skipped"
# The guest may still do its part of the step.
AWAITED = (UNPLUG_PENDING, PLUG_UNACKNOWLEDGED)


@dataclass
class Entry:
    """One step and its outcome; ``took_effect`` is None while that is unknown."""

    step: Step
    status: str = PLANNED
    took_effect: bool | None = False
    seconds: float = 0.0
    detail: str = ""
    code: str | None = None
    started: float = field(default=0.0, repr=False)

    def start(self) -> None:
        self.started = time.monotonic()

    def end(self, answer: StepOutcome) -> None:
        self.status = answer.status
        self.took_effect = answer.took_effect
        self.detail = answer.detail
        self.code = answer.code
        self.seconds = time.monotonic() - self.started

    @property
    def failed(self) -> bool:
        """Whether it ends the run; this includes a step that was done if the connection was lost with it."""
        return self.code is not None

    @property
    def vcpus(self) -> str:
        return format_cpulist(self.step.vcpus)

    def result(self) -> dict[str, Any]:
        """The entry in the format of the modules' results."""
        return {
            "step": self.step.kind.name,
            "target": self.step.target,
            "vcpus": self.vcpus,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "detail": self.detail,
            "makes_hotpluggable": self.step.makes_hotpluggable,
        }


class Journal:
    """The entries of one run, in the order of its plan."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.entries: list[Entry] = [Entry(step) for step in steps]
        self.backup_file: str | None = None

    def of(self, *kinds: StepKind) -> list[Entry]:
        return [entry for entry in self.entries if entry.step.kind in kinds]

    @property
    def changed(self) -> bool:
        """Whether a step changed something that was not undone; an unknown outcome counts as a change."""
        return any(entry.took_effect is not False for entry in self.entries)

    def is_repair(self, entry: Entry) -> bool:
        """Return whether a step places a vCPU that was not plugged by this run."""
        plugged = {other.step.entity.index for other in self.of(PLUG)}
        return entry.step.kind == PLACE and entry.step.entity.index not in plugged

    @property
    def first_failure(self) -> Entry | None:
        return next((entry for entry in self.entries if entry.failed), None)

    def skip_the_rest(self) -> None:
        for entry in self.entries:
            if entry.status == PLANNED:
                entry.status = SKIPPED

    def interrupt(self, code: str, msg: str) -> None:
        """Record that the connection was lost during the steps that had been started."""
        for entry in self.entries:
            if entry.status == PLANNED and entry.started:
                entry.end(StepOutcome(FAILED, took_effect=None, detail=msg, code=code))

    def learn(self, state: GuestState) -> None:
        """Settle steps with an unknown outcome after a lost connection, by what is enabled now."""
        if state.live is None:
            self._learn_of_the_stop()
        for entry in self.entries:
            scope = state.scope(entry.step.target)
            members = entry.step.vcpus
            if isinstance(scope, OnlineState):
                is_open = entry.took_effect is None and scope.known.issuperset(members)
            else:
                is_open = entry.code == CONNECTION_LOST
            if scope is None or not is_open:
                continue
            if _is_in_effect(entry.step, state):
                entry.status, entry.took_effect = DONE, True
                entry.detail = "the connection was lost during this step; it was found done afterwards"
            else:
                entry.took_effect = False
                if entry.step.kind == UNPLUG:
                    # If the request was sent, the guest may still carry it out.
                    entry.status = PENDING
                    entry.detail = f"{entry.detail}; the guest may still carry it out"

    def _learn_of_the_stop(self) -> None:
        """End what waits for the guest: one that was shut off completes and acknowledges nothing any more."""
        for entry in self.entries:
            if entry.code in AWAITED:
                entry.status = FAILED if entry.status == PENDING else entry.status
                entry.code = GUEST_NOT_RUNNING
                entry.detail = "the guest was stopped during this step: start it, or use scope config"


def _is_in_effect(step: Step, state: GuestState) -> bool:
    scope = state.scope(step.target)
    if step.kind in (ADD, REMOVE):
        return (step.vcpus[0] < state.layout_of(step.target).max_vcpus) is (step.kind == ADD)
    if step.kind == PLACE:
        placements = EMPTY if state.live is None else state.live.placements
        return state.misplaced is not None and all(
            vcpu in placements and vcpu not in state.misplaced for vcpu in step.vcpus
        )
    if step.makes_hotpluggable and isinstance(scope, ConfigState):
        return scope.hotpluggable.issuperset(step.vcpus)
    return scope is not None and (not scope.enabled.isdisjoint(step.vcpus)) is step.kind.adds
