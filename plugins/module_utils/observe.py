# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask every port that a guest has what it sees, and put the answers together as one state."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Callable

from ansible_collections.kvm.hotplug.plugins.module_utils.machine.port import Machine, MachineView
from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestState

OpenMachine = Callable[[], Awaitable[Machine]]


@dataclass(frozen=True)
class Observation:
    """A guest's state, and the QEMU arguments that would give a migration's destination the live one."""

    state: GuestState
    destination_args: tuple[str, ...] = ()


async def inspect(open_machine: OpenMachine) -> Observation:
    """Open the machine, observe it, and close it. Raises ``HotplugError``."""
    machine = await open_machine()
    try:
        return await observe(machine)
    finally:
        await machine.close()


async def observe(machine: Machine) -> Observation:
    """Return what ``machine`` shows; raises the ``HotplugError`` of its port."""
    return _observation(await machine.observe())


def latest(machine: Machine) -> Observation:
    """Return what ``machine`` showed last, after its last step."""
    return _observation(machine.latest())


def _observation(view: MachineView) -> Observation:
    return Observation(GuestState(view.facts, view.layout, live=view.live), view.destination_args)
