# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the guest OS, requested from its agent; only ``live_steps`` calls them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import AGENT_ERROR, UNPLUG_REFUSED, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, REFUSED, StepOutcome
from ansible_collections.kvm.hotplug.plugins.module_utils.run.online_wait import TICK_SECONDS

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent, SetResult
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Entry


_FREE_IT = "see the guest's kernel log for what uses the CPU, free it there, then run the task again"


async def set_online(entries: Sequence[Entry], agent: Agent) -> None:
    """Take steps of method agent in one request, and record the outcome of each in its entry."""
    for entry in entries:
        entry.start()
    wanted = {vcpu: bool(entry.step.kind.adds) for entry in entries for vcpu in entry.step.vcpus}
    result = await agent.set_online(wanted)
    for entry in entries:
        members = set(entry.step.vcpus)
        if members.issubset(result.processed):
            entry.end(StepOutcome(DONE, took_effect=True))
        elif result.stopped_at in members or not result.refused:
            entry.end(_stopped(result, result.reason, result.code or AGENT_ERROR))


async def drain(entry: Entry, agent: Agent, online: Collection[int]) -> None:
    """Have the guest OS offline a vCPU before it is unplugged: it reports a refusal immediately, with the reason.

    ``online`` are the vCPUs that the guest OS runs on.
    """
    entry.start()
    result = await agent.set_online({vcpu: False for vcpu in entry.step.vcpus if vcpu in online})
    if result.stopped_at is None:
        entry.end(StepOutcome(DONE, took_effect=True))
        return
    if result.refused:
        answer = _stopped(result, f"{result.reason}; nothing was unplugged; {_FREE_IT}", UNPLUG_REFUSED)
    else:
        answer = _stopped(result, f"{result.reason}; nothing was unplugged", result.code or AGENT_ERROR)
    if result.refused and result.processed:
        # The outcome is unknown until the others of its core are online again.
        entry.end(answer._replace(took_effect=None))
        await agent.set_online(dict.fromkeys(result.processed, True))
    entry.end(answer)


async def undo(
    entry: Entry, agent: Agent, online: Collection[int], plugged: Collection[int] | None, timeout: float
) -> str:
    """Undo a step within ``timeout`` seconds; return why that failed, or nothing.

    ``online`` are the vCPUs that the guest OS ran on before the step, ``plugged`` those that are plugged now. The guest
    may not have detected a vCPU that was just plugged again: the request is then repeated.
    """
    adds = not entry.step.kind.adds
    wanted = {vcpu: adds for vcpu in entry.step.vcpus if (vcpu in online) is adds}
    deadline = time.monotonic() + timeout
    while True:
        try:
            await agent.observe(plugged)
            result = await agent.set_online(wanted)
            reason = result.reason if result.stopped_at is not None else ""
        except HotplugError as error:
            reason = error.msg
        if not reason or time.monotonic() >= deadline:
            return reason
        await asyncio.sleep(TICK_SECONDS)


def _stopped(result: SetResult, detail: str, code: str) -> StepOutcome:
    """The outcome of a step that a request did not complete."""
    if result.refused:
        return StepOutcome(REFUSED, detail=detail, code=code)
    return StepOutcome(FAILED, took_effect=None, detail=detail, code=code)
