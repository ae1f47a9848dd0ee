# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A signal at any moment of a run, also while it closes its connections: the result reports what was changed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, GuestFacts, Host, LiveState
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, MachineView, StepOutcome
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import GuestRef
from ansible_collections.kvm.hotplug.plugins.module_utils.request.limits import Limits
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.batch import Job, converge_all
from ansible_collections.kvm.hotplug.plugins.module_utils.run.interruption import Interrupted, Interruption

from ..support.guests import layout
from ..support.queries import desired, run


class Moments:
    """The turns of the event loop during a run; in the one of this number a signal arrives."""

    def __init__(self, number: int, interruption: Interruption) -> None:
        self.left = number
        self.has_ended = False
        self._interruption = interruption

    def count(self) -> None:
        """Count this turn, and the following ones until the run has ended."""
        if self.left == 0:
            self._interruption.request("SIGINT")
        self.left -= 1
        if self.left >= 0 and not self.has_ended:
            asyncio.get_running_loop().call_soon(self.count)


class SlowGuest:
    """A machine with vCPUs 0 and 1 of 8, which waits before and after everything that it does."""

    def __init__(self) -> None:
        self.enabled = {0, 1}
        self.is_open = False

    async def open(self) -> Ports:
        await asyncio.sleep(0)
        self.is_open = True
        ports = Ports()
        ports.machine = self
        return ports

    async def observe(self) -> MachineView:
        await asyncio.sleep(0)
        return self.latest()

    def latest(self) -> MachineView:
        live = LiveState(enabled=frozenset(self.enabled), acknowledges=True)
        return MachineView(GuestFacts(state="running"), layout(sockets=4), live)

    async def plug(self, entities: Sequence[Entity]) -> dict[int, StepOutcome]:
        await asyncio.sleep(0)
        for entity in entities:
            self.enabled.update(entity.vcpus)
        await asyncio.sleep(0)
        return {entity.index: StepOutcome(DONE, took_effect=True) for entity in entities}

    async def await_insertion(self, entities: Sequence[Entity], timeout: float) -> dict[int, StepOutcome]:
        await asyncio.sleep(0)
        return {entity.index: StepOutcome(DONE, took_effect=True) for entity in entities}

    async def unplug(self, entity: Entity, timeout: float) -> StepOutcome:
        await asyncio.sleep(0)
        self.enabled.difference_update(entity.vcpus)
        await asyncio.sleep(0)
        return StepOutcome(DONE, took_effect=True)

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.is_open = False
        await asyncio.sleep(0)


async def large_host(name: str) -> Host:
    await asyncio.sleep(0)
    return Host(name, cpus=64)


@pytest.mark.parametrize("limits", [Limits(), Limits(max_overcommit=100.0)], ids=["at once", "planned first"])
def test_at_whatever_moment_a_signal_arrives_the_result_is_true(limits: Limits) -> None:
    for number in itertools.count():
        interruption, guest = Interruption(), SlowGuest()
        moments = Moments(number, interruption)
        job = Job(GuestRef(), guest, Request(desired("2-3", "1"), timeout=5.0))

        async def interrupted(job: Job = job, moments: Moments = moments, of: Interruption = interruption) -> None:
            moments.count()
            await converge_all([job], limits, large_host, of)
            moments.has_ended = True

        run(interrupted)
        changed, error = guest.enabled != {0, 1}, job.result.error
        assert job.result.changed is changed, f"moment {number}: {guest.enabled}"
        assert not guest.is_open, f"moment {number}"
        if moments.left >= 0:
            assert number > 10
            assert (guest.enabled, error, job.skipped) == ({0, 2, 3}, None, False)
            return
        if error is None:
            assert job.skipped is not changed, f"moment {number}"
        else:
            assert isinstance(error, Interrupted), f"moment {number}"
