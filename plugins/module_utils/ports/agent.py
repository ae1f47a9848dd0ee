# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent port: what the engine asks of the agent inside a guest, whoever carries the question."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

# An agent replies within a moment or not at all: one that hangs is not given the whole timeout of a step.
LONGEST_REPLY_SECONDS = 15.0


class GuestCpu(NamedTuple):
    """A CPU by the guest's own count; ``logical_id`` need not be the id of the vCPU that it runs on."""

    logical_id: int
    online: bool
    can_offline: bool


class SetResult(NamedTuple):
    """How far a request to online and offline CPUs got.

    ``processed`` are the logical ids the agent has dealt with, in the order asked for. ``stopped_at`` is the first
    that it has not, None when there is none; ``code`` is then an error code and ``reason`` the sentence for the user.
    Where it ``refused``, the CPUs from ``stopped_at`` on are as they were; otherwise the guest must be looked at, and
    one that did not answer may yet do as it was asked.
    """

    processed: tuple[int, ...]
    stopped_at: int | None = None
    code: str | None = None
    reason: str = ""
    refused: bool = False


class Agent(Protocol):
    """The agent of a running guest, for one caller at a time.

    Every method but ``close`` raises ``HotplugError`` within the agent's timeout: agent_unavailable where nobody
    answers or somebody else is served, agent_error where the answer is invalid_reply, unfinished, or that this agent
    cannot do it.
    """

    async def cpus(self) -> tuple[GuestCpu, ...]:
        """Return the guest's CPUs by logical id; on some platforms these are also some it could have."""

    async def slots(self, logical_ids: Collection[int]) -> Mapping[int, int] | None:
        """Return the vCPU id behind each of the CPUs, as far as the guest's sysfs tells it.

        None where the agent reads no files, or they tell nothing.
        """

    async def set_online(self, wanted: Mapping[int, bool]) -> SetResult:
        """Online the CPUs that are ``wanted`` so, and offline the others, in that order up to the first refusal.

        Raises only where nothing is known to have been done: a request that got no answer may yet be carried out.
        """

    async def close(self) -> None:
        """Let go of the agent; never raises."""
