# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that the guest's own system takes, asked through its agent: for ``apply`` alone to call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.cpu_mapping import logical_ids
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    AGENT_ERROR,
    PLUG_UNACKNOWLEDGED,
    UNPLUG_REFUSED,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, PENDING, REFUSED, Answer

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import OnlineState
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent, GuestCpu, SetResult
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Entry

# A guest with an udev rule has new CPUs online within a tenth of a second.
TICK_SECONDS = 0.2


async def set_online(entries: Sequence[Entry], agent: Agent, state: OnlineState) -> None:
    """Take steps of method agent, all in one request; the journal's entries tell what became of each."""
    for entry in entries:
        entry.start()
    wanted = {state.logical_ids[_only(entry)]: entry.step.kind.adds for entry in entries}
    result = await agent.set_online(wanted)
    for entry in entries:
        number = state.logical_ids[_only(entry)]
        if number in result.processed:
            entry.end(Answer(DONE, took_effect=True))
        elif number == result.stopped_at or not result.refused:
            entry.end(_stopped(result, result.reason, result.code or AGENT_ERROR))


async def follow_plugs(
    entries: Sequence[Entry],
    agent: Agent,
    before: OnlineState,
    max_vcpus: int,
    enabled: Collection[int],
    timeout: float,
) -> None:
    """Wait until the guest sees what was plugged, and have online what its system has not onlined itself.

    ``enabled`` are the vCPUs that are plugged now, ``timeout`` is in seconds.
    """
    for entry in entries:
        entry.start()
    deadline = time.monotonic() + timeout
    waiting = list(entries)
    while True:
        cpus = await agent.cpus()
        found = await _found(agent, cpus, before, max_vcpus, enabled, waiting)
        offline = [cpu.logical_id for members in found.values() for cpu in members if not cpu.online]
        if not offline:
            for entry in [entry for entry in waiting if id(entry) in found]:
                waiting.remove(entry)
                entry.end(Answer(DONE, took_effect=entry.took_effect))
        else:
            result = await agent.set_online(dict.fromkeys(offline, True))
            _judge(waiting, found, result.processed, result.stopped_at, result.code, result.reason)
            waiting = [entry for entry in waiting if not entry.failed]
        left = deadline - time.monotonic()
        if not waiting or left <= 0:
            break
        await asyncio.sleep(min(TICK_SECONDS, left))
    for entry in waiting:
        entry.end(
            Answer(
                PENDING,
                detail=f"the guest's system does not show the vCPU within {timeout:g} s: see the guest's kernel log",
                code=PLUG_UNACKNOWLEDGED,
            )
        )


async def drain(entry: Entry, agent: Agent, state: OnlineState) -> None:
    """Have the guest's system give a vCPU up before it is unplugged: a refusal then comes at once, and says why."""
    entry.start()
    numbers = [state.logical_ids[vcpu] for vcpu in entry.step.entity.vcpus if vcpu in state.enabled]
    result = await agent.set_online(dict.fromkeys(numbers, False))
    if result.stopped_at is None:
        entry.end(Answer(DONE, took_effect=True))
        return
    code = UNPLUG_REFUSED if result.refused else result.code or AGENT_ERROR
    answer = _stopped(result, f"{result.reason}; nothing was unplugged", code)
    if result.refused and result.processed:
        # Until the others of its core are online again.
        entry.end(answer._replace(took_effect=None))
        await agent.set_online(dict.fromkeys(result.processed, True))
    entry.end(answer)


async def undo(entry: Entry, agent: Agent, state: OnlineState, timeout: float) -> str:
    """Take a step back within ``timeout`` seconds; return why that failed, or nothing.

    A vCPU that was plugged again only a moment ago may not have reached the guest yet, which then refuses.
    """
    numbers = [state.logical_ids[vcpu] for vcpu in entry.step.entity.vcpus if vcpu in state.logical_ids]
    deadline = time.monotonic() + timeout
    while True:
        try:
            result = await agent.set_online(dict.fromkeys(numbers, not entry.step.kind.adds))
            reason = result.reason if result.stopped_at is not None else ""
        except HotplugError as error:
            reason = error.msg
        if not reason or time.monotonic() >= deadline:
            return reason
        await asyncio.sleep(TICK_SECONDS)


def _stopped(result: SetResult, detail: str, code: str) -> Answer:
    """What became of a step that a request did not get to the end of."""
    if result.refused:
        return Answer(REFUSED, detail=detail, code=code)
    return Answer(FAILED, took_effect=None, detail=detail, code=code)


def _only(entry: Entry) -> int:
    return entry.step.entity.vcpus[0]


async def _found(
    agent: Agent,
    cpus: Sequence[GuestCpu],
    before: OnlineState,
    max_vcpus: int,
    enabled: Collection[int],
    waiting: Sequence[Entry],
) -> dict[int, list[GuestCpu]]:
    """The guest's CPUs of each entry that the guest sees wholly, by the entry's identity.

    Where ids cannot be translated, the CPUs that are new are those that were plugged: which is which is not needed.
    """
    slots = await agent.slots([cpu.logical_id for cpu in cpus])
    try:
        by_vcpu: Mapping[int, GuestCpu] = logical_ids(max_vcpus, enabled, cpus, slots)
    except HotplugError:
        new = [cpu for cpu in cpus if cpu.logical_id not in before.all_logical_ids]
        if len(new) < sum(len(entry.step.entity.vcpus) for entry in waiting):
            return {}
        return {id(entry): new for entry in waiting}
    return {
        id(entry): [by_vcpu[vcpu] for vcpu in entry.step.entity.vcpus]
        for entry in waiting
        if all(vcpu in by_vcpu for vcpu in entry.step.entity.vcpus)
    }


def _judge(
    waiting: Sequence[Entry],
    found: Mapping[int, Sequence[GuestCpu]],
    processed: Collection[int],
    stopped_at: int | None,
    code: str | None,
    reason: str,
) -> None:
    """Note which entries the request has onlined, and which it stopped at; the next look tells the rest."""
    for entry in waiting:
        numbers = {cpu.logical_id for cpu in found.get(id(entry), ()) if not cpu.online}
        if numbers.intersection(processed):
            entry.took_effect = True
        if stopped_at in numbers:
            detail = f"it is plugged, but the guest's CPU {stopped_at} is not online: {reason}"
            entry.end(Answer(FAILED, took_effect=entry.took_effect, detail=detail, code=code or AGENT_ERROR))
