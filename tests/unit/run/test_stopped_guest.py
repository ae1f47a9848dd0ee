# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest that is stopped while a step waits for it: it may not complete or acknowledge anything at a later time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import DirectSource
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    GUEST_NOT_RUNNING,
    PLUG_UNACKNOWLEDGED,
    UNPLUG_PENDING,
    HotplugError,
    NoListener,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, GuestFacts, LiveState
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import (
    DONE,
    FAILED,
    PENDING,
    MachineView,
    StepOutcome,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.convergence import Convergence

from ..support.guests import layout
from ..support.json_store import JsonFile
from ..support.queries import code, converge, desired, steps


class MadeUpGuest:
    """A machine with vCPUs 0-2 of 8, whose guest neither completes an unplug nor acknowledges a plug.

    With ``stops``, it is shut off by then.
    """

    def __init__(self, stops: bool) -> None:
        self.enabled = {0, 1, 2}
        self._stops = stops
        self._is_shut_off = False

    async def open(self) -> MadeUpGuest:
        if self._is_shut_off:
            raise NoListener("no process listens")
        return self

    async def observe(self) -> MachineView:
        if self._is_shut_off:
            raise HotplugError(GUEST_NOT_RUNNING, "the guest has been stopped meanwhile")
        return self.latest()

    def latest(self) -> MachineView:
        live = LiveState(enabled=frozenset(self.enabled), acknowledges=True)
        return MachineView(GuestFacts(state="running"), layout(sockets=4), live)

    async def plug(self, entities: Sequence[Entity]) -> dict[int, StepOutcome]:
        for entity in entities:
            self.enabled.update(entity.vcpus)
        return {entity.index: StepOutcome(DONE, took_effect=True) for entity in entities}

    async def await_insertion(self, entities: Sequence[Entity], timeout: float) -> dict[int, StepOutcome]:
        self._is_shut_off = self._stops
        silence = StepOutcome(FAILED, took_effect=True, detail="no acknowledgement", code=PLUG_UNACKNOWLEDGED)
        return {entity.index: silence for entity in entities}

    async def unplug(self, entity: Entity, timeout: float) -> StepOutcome:
        self._is_shut_off = self._stops
        return StepOutcome(PENDING, detail="the guest may carry it out at any later time", code=UNPLUG_PENDING)

    async def close(self) -> None:
        return None


def bring(path: Path, stops: bool, enable: str = "", disable: str = "") -> Convergence:
    path.write_text(json.dumps({"name": "db", "maximum": 8, "enabled": [0, 1, 2]}), encoding="utf-8")
    source = DirectSource(MadeUpGuest(stops).open, JsonFile(path))
    return converge(source, Request(desired(enable, disable), scope="live", timeout=0.5))


def test_an_unplug_of_a_guest_that_was_stopped_is_not_pending(tmp_path: Path) -> None:
    waits = bring(tmp_path / "guest.json", stops=False, disable="1-2")
    assert (code(waits), steps(waits)) == ("unplug_pending", ["unplug 2: pending", "unplug 1: skipped"])
    result = bring(tmp_path / "guest.json", stops=True, disable="1-2")
    assert (code(result), result.changed) == ("guest_not_running", False)
    assert steps(result) == ["unplug 2: failed", "unplug 1: skipped"]
    assert result.error is not None
    assert "could not unplug vCPU 2: the guest was stopped during this step" in result.error.msg


def test_a_plug_of_a_guest_that_was_stopped_is_not_unacknowledged(tmp_path: Path) -> None:
    waits = bring(tmp_path / "guest.json", stops=False, enable="3")
    assert (code(waits), waits.changed) == ("plug_unacknowledged", True)
    result = bring(tmp_path / "guest.json", stops=True, enable="3")
    assert (code(result), result.changed) == ("guest_not_running", True)
