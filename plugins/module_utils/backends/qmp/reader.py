# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine port over QMP, for observing a QEMU guest not managed by libvirt; it needs only a monitor socket."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Callable, Optional

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError, parse_address
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.monitor import Monitor
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.view import EXITS, MEMORY, QUESTIONS, QmpView
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import MachineView

# An older QEMU waits for the thread of each vCPU in turn, and for ever if the guest ejects that vCPU meanwhile.
_EXITS_SINCE = (8, 1)

AskHost = Callable[[], Awaitable[Optional[bool]]]


class QmpReader:
    """The machine at one QMP socket; ``timeout`` limits each reply of QEMU, in seconds.

    ``takes_back`` returns whether KVM on the machine's host accepts a vCPU that has run, None if it cannot be tested.
    """

    def __init__(self, address: str, timeout: float, takes_back: AskHost | None = None) -> None:
        self._monitor = Monitor(address, timeout)
        self._replies: dict[str, Any] = {}
        self._view: QmpView | None = None
        self._ask_host = takes_back or _query(address)
        self._takes_back: bool | None = None

    async def connect(self) -> None:
        """Raises ``HotplugError``: monitor_unreachable or monitor_busy."""
        await self._monitor.connect()

    async def close(self) -> None:
        await self._monitor.close()

    async def observe(self) -> MachineView:
        return self._machine_view(await self._read())

    async def _read(self) -> QmpView:
        answers = await self._monitor.execute_all(list(QUESTIONS.values()))
        for answer in answers:
            if isinstance(answer, HotplugError):
                raise answer
        self._replies, self._view = dict(zip(QUESTIONS, answers)), None
        view = await self._with_history(self._latest)
        if view.may_imply_node:
            self._replies["memory"] = await self._ask(*MEMORY)
        return view

    @property
    def _latest(self) -> QmpView:
        if self._view is None:
            self._view = QmpView(self._replies, self._takes_back)
        return self._view

    def _keep(self, **replies: Any) -> None:
        """Keep these replies instead of the earlier ones to the same questions."""
        self._replies.update(replies)
        self._view = None

    def _machine_view(self, view: QmpView) -> MachineView:
        return view.machine_view()._replace(threads=VcpuThreads(self._monitor.peer_pid(), view.thread_ids))

    async def _with_history(self, view: QmpView) -> QmpView:
        """Query which vCPUs have run, and whether the host's KVM accepts them again, if that matters."""
        if not view.reuses_vcpus:
            return view
        self._replies["exits"] = await self._exits()
        if not view.history.matters(view.slots):
            return view
        self._takes_back = await self._ask_host()
        self._view = None
        return self._latest

    async def _exits(self) -> Any:
        # An older kernel does not count exits.
        return await self._ask(*EXITS) if self._monitor.qemu_version >= _EXITS_SINCE else None

    async def _ask(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """Return QEMU's reply, None if QEMU refuses the command."""
        try:
            return await self._monitor.execute(command, **arguments)
        except CommandError:
            return None


def _query(address: str) -> AskHost:
    """Return the function that tests the KVM of QEMU's host, which is this host if the monitor is a UNIX socket."""

    async def takes_back() -> bool | None:
        if not isinstance(parse_address(address), str):
            return None
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.host_kvm import query_takes_back

        return await query_takes_back()

    return takes_back
