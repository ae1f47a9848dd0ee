# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's ports, and the sources that open them: the interfaces that a run uses for every backend."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import LONGEST_MESSAGE, printable

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import Agent, AgentReader
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import Config, ConfigReader
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import Machine, MachineReader
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.placer import Placer
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import HostThreads


@dataclass
class ReadPorts:
    """The open ports of a guest, for observing it.

    Without a machine the guest is shut off; without a config its next boot is unknown. ``has_agent`` without an
    ``agent`` means an agent that must not be queried. ``threads`` are those of the host that the task runs on.
    ``warnings`` are for the user.
    """

    machine: MachineReader | None = None
    config: ConfigReader | None = None
    agent: AgentReader | None = None
    has_agent: bool = False
    threads: HostThreads | None = None
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Add a warning for the user, once."""
        text = printable(text, LONGEST_MESSAGE)
        if text and text not in self.warnings:
            self.warnings.append(text)

    async def close(self) -> None:
        """Close all ports; never raises."""
        for port in (self.agent, self.machine, self.config):
            if port is not None:
                await port.close()


class Ports(ReadPorts):
    """The open ports of a guest, for changing it too."""

    machine: Machine | None
    config: Config | None
    agent: Agent | None
    placer: Placer | None = None


class ReadSource(Protocol):
    """The guest that the options of a task name, before its ports are open for observing it."""

    async def open(self) -> ReadPorts:
        """Open the ports; raises the ``HotplugError`` of a port."""


class Source(ReadSource, Protocol):
    """The same, before its ports are open for changing it too."""

    async def open(self) -> Ports:
        """Open the ports; raises the ``HotplugError`` of a port."""


@contextlib.asynccontextmanager
async def opened(source: ReadSource) -> AsyncIterator[ReadPorts]:
    """Open the ports of a source for a ``with`` block; raises ``HotplugError``."""
    ports = await source.open()
    try:
        yield ports
    finally:
        await ports.close()
