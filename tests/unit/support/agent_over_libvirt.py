# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A libvirt that passes requests on to a scripted agent, as far as the agent's adapter calls it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable, cast

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.agent import LibvirtAgentCommands
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist

from .agent_peer import LinuxAgent

if TYPE_CHECKING:
    import libvirt

    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.reader import Reader

AGENT_COMMAND_FAILED = 1
AGENT_UNRESPONSIVE = 86


class LibvirtAround:
    """Connection, domain and reader of a guest whose agent is ``agent``."""

    def __init__(self, agent: LinuxAgent) -> None:
        self.agent = agent
        # What the agent says instead, by command.
        self.replies: dict[str, str] = {}
        self.commands: list[str] = []
        self.silent = False

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    async def live(self) -> Domain:
        """In the order they were plugged."""
        order = {vcpu: number + 1 for number, vcpu in enumerate(self.agent.vcpus)}
        return Domain(8, frozenset(self.agent.vcpus), order=order)

    def guestVcpus(self) -> Mapping[str, str]:
        listed = self._ask("guest-get-vcpus")
        sets = {"vcpus": None, "online": "online", "offlinable": "can-offline"}
        return {
            name: format_cpulist(cpu["logical-id"] for cpu in listed if member is None or cpu[member])
            for name, member in sets.items()
        }

    def setGuestVcpus(self, cpumap: str, state: int) -> None:
        rest = [{"logical-id": number, "online": bool(state)} for number in sorted(parse_cpulist(cpumap))]
        while rest:
            del rest[: self._ask("guest-set-vcpus", vcpus=rest)]

    def agent_command(self, _domain: object, text: str, _timeout: int, _flags: int) -> str:
        command = json.loads(text)
        if command["execute"] in self.replies:
            self.commands.append(command["execute"])
            return self.replies[command["execute"]]
        return json.dumps({"return": self._ask(command["execute"], **command.get("arguments", {}))})

    def _ask(self, command: str, **arguments: Any) -> Any:
        self.commands.append(command)
        if self.silent:
            raise LibvirtCallError(
                AGENT_UNRESPONSIVE, "Guest agent is not responding: QEMU guest agent is not connected"
            )
        reply = self.agent.answer({"execute": command, "arguments": arguments})
        if "error" in reply:
            raise LibvirtCallError(
                AGENT_COMMAND_FAILED, f"internal error: unable to execute QEMU agent command: {reply['error']['desc']}"
            )
        return reply["return"]


def commands_over(around: LibvirtAround, monkeypatch: pytest.MonkeyPatch, timeout: float = 5.0) -> LibvirtAgentCommands:
    """Return the adapter of such a guest."""
    binding = ModuleType("libvirt_qemu")
    vars(binding)["qemuAgentCommand"] = around.agent_command
    monkeypatch.setitem(sys.modules, "libvirt_qemu", binding)
    return LibvirtAgentCommands(
        cast("Connection", around), cast("libvirt.virDomain", around), cast("Reader", around), timeout
    )
