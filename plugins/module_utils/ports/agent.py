# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent port: the interface of the agent inside a guest, in terms of the machine's vCPU ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError

# An agent replies quickly or not at all: do not wait for one that hangs for the whole timeout of a step.
LONGEST_REPLY_SECONDS = 15.0


class GuestVcpu(NamedTuple):
    """Whether the guest OS runs on a vCPU, and whether it could offline it."""

    online: bool
    can_offline: bool


class AgentView(NamedTuple):
    """The vCPUs that the guest OS has detected, at one moment.

    A vCPU is missing if the guest OS has not detected it yet. If the guest's CPUs cannot be mapped to vCPUs,
    ``mismatch`` is the reason, and ``vcpus`` are only those plugged since the first view, if as many CPUs appeared
    since then. Their mapping is unknown, so each counts as online once all of them are.
    """

    vcpus: Mapping[int, GuestVcpu]
    mismatch: HotplugError | None = None


class SetResult(NamedTuple):
    """The result of a request to online and offline vCPUs.

    ``processed`` are the ids that the agent has processed, in the order of the request. ``stopped_at`` is the first
    that it has not, or None; ``code`` is then an error code and ``reason`` a message for the user. If it ``refused``,
    the vCPUs from ``stopped_at`` on are unchanged. Otherwise the guest must be observed again, and a guest that did not
    reply may still carry out the request.
    """

    processed: tuple[int, ...]
    stopped_at: int | None = None
    code: str | None = None
    reason: str = ""
    refused: bool = False


class AgentReader(Protocol):
    """The agent of a running guest, for observing the guest's CPUs; for one caller at a time.

    Every method but ``close`` raises ``HotplugError`` within the agent's timeout: agent_unavailable if no agent replies
    or another client is served, agent_error if the reply is invalid or incomplete, or if the agent does not support
    the command.
    """

    async def observe(self, plugged: Collection[int] | None) -> AgentView:
        """Return the state in the guest OS of the vCPUs that are ``plugged``; changes nothing.

        None if no machine can be queried: the guest's own list of CPUs is then used.
        """

    async def close(self) -> None:
        """Close the connection; never raises."""


class Agent(AgentReader, Protocol):
    """The agent of a running guest, for changing its CPUs too; raises the same errors."""

    async def set_online(self, wanted: Mapping[int, bool]) -> SetResult:
        """Online the vCPUs that are true in ``wanted``, and offline the others, in that order up to the first refusal.

        They are vCPUs of the last view. Raises only if the agent has processed none of them as far as is known; a
        guest that did not reply may still carry out the request.
        """
