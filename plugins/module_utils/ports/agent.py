# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent port: what the engine asks of the agent inside a guest, in the ids of the machine's vCPUs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError

# An agent replies within a moment or not at all: one that hangs is not given the whole timeout of a step.
LONGEST_REPLY_SECONDS = 15.0


class VcpuInGuest(NamedTuple):
    """Whether the guest's system runs on a vCPU, and whether it could take it offline."""

    online: bool
    can_offline: bool


class AgentView(NamedTuple):
    """The vCPUs that the guest's system sees, at one moment.

    A vCPU is missing where the guest does not see it yet. Where the guest's CPUs cannot be matched with vCPUs,
    ``mismatch`` is the reason, and ``vcpus`` are only those plugged since the first view, if as many CPUs appeared
    since then: which of these is which is unknown, so each is online once all are.
    """

    vcpus: Mapping[int, VcpuInGuest]
    mismatch: HotplugError | None = None


class SetResult(NamedTuple):
    """How far a request to online and offline vCPUs got.

    ``processed`` are the ids the agent has dealt with, in the order asked for. ``stopped_at`` is the first that it has
    not, None when there is none; ``code`` is then an error code and ``reason`` the sentence for the user. Where it
    ``refused``, the vCPUs from ``stopped_at`` on are as they were; otherwise the guest has to be observed again, and
    one that did not answer may yet do as it was asked.
    """

    processed: tuple[int, ...]
    stopped_at: int | None = None
    code: str | None = None
    reason: str = ""
    refused: bool = False


class Agent(Protocol):
    """The agent of a running guest, for one caller at a time.

    Every method but ``close`` raises ``HotplugError`` within the agent's timeout: agent_unavailable where nothing
    answers or another client is served, agent_error where the reply is invalid, incomplete, or that this agent cannot
    do it.
    """

    async def observe(self, plugged: Collection[int] | None) -> AgentView:
        """Return what the guest's system sees of the vCPUs that are ``plugged``; changes nothing.

        None where no machine can be asked: the guest is then believed in which vCPUs it has.
        """

    async def set_online(self, wanted: Mapping[int, bool]) -> SetResult:
        """Online the vCPUs that are ``wanted`` so, and offline the others, in that order up to the first refusal.

        They are those of the last view. Raises only where nothing is known to have been done: a request that got no
        answer may yet be carried out.
        """

    async def close(self) -> None:
        """Close the connection; never raises."""
