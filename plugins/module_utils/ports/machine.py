# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine port: the interface of a running guest's machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, GuestFacts, Layout, LiveState

DONE = "done"
PENDING = "pending"
REFUSED = "refused"
FAILED = "failed"


class StepOutcome(NamedTuple):
    """How a request for one entity ended.

    ``status`` is done, pending, refused or failed. ``took_effect`` is whether this request has changed the
    vCPU's state in the machine, None if unknown. ``code`` is an error code, or None without an error; ``detail`` is
    a message for the user, empty if there is nothing to add.
    """

    status: str
    took_effect: bool | None = False
    detail: str = ""
    code: str | None = None


class MachineView(NamedTuple):
    """The machine at one moment.

    ``destination_args`` are those of QEMU that start it with these vCPUs, if known; ``warning`` is for the user.
    ``threads`` are those of its vCPUs, of which only the kernel of their host knows more.
    """

    facts: GuestFacts
    layout: Layout
    live: LiveState
    destination_args: tuple[str, ...] = ()
    warning: str = ""
    threads: VcpuThreads = VcpuThreads()


class MachineReader(Protocol):
    """A running guest's machine, for observing it.

    Every method but ``close`` raises ``HotplugError``: monitor_unreachable or monitor_busy before the first reply,
    connection_lost afterwards.
    """

    async def observe(self) -> MachineView:
        """Return the state of the machine; changes nothing."""

    async def close(self) -> None:
        """Close the connection; never raises."""


class Machine(MachineReader, Protocol):
    """A running guest's machine, for changing it too; raises the same errors. Durations are in seconds."""

    def latest(self) -> MachineView:
        """Return the state that the last method observed; sends no query."""

    async def plug(self, entities: Sequence[Entity]) -> dict[int, StepOutcome]:
        """Plug ``entities`` and return the outcome of each, by its index, without waiting for the guest."""

    async def await_insertion(self, entities: Sequence[Entity], timeout: float) -> dict[int, StepOutcome]:
        """Wait until the guest has acknowledged each plugged entity; every acknowledgement renews ``timeout``."""

    async def unplug(self, entity: Entity, timeout: float) -> StepOutcome:
        """Unplug ``entity``; repeats the request to a busy guest until ``timeout``."""

    async def settle(self, entities: Sequence[Entity], timeout: float) -> None:
        """Wait until no unplug of ``entities`` is in progress any more, at most ``timeout``."""
