# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of all domains of a libvirt connection: subscribed to, and as kinds of events of this collection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import (
    Connection,
    imported,
    imported_for_qemu,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.messages import read_object
from ansible_collections.kvm.hotplug.plugins.module_utils.model import EMPTY
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events import translate
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.tracker import MIGRATED, STARTED, STOPPED

# A QEMU waits for a guest that is migrated to it.
ARRIVES = "arrives"
# What each domain event of these kinds is about; a kind that this libvirt does not have is not subscribed to.
_REBOOT = "VIR_DOMAIN_EVENT_ID_REBOOT"
_LIFECYCLE = "VIR_DOMAIN_EVENT_ID_LIFECYCLE"
_AGENT = "VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE"
_REFUSED = "VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED"
_VCPU_REMOVED = "VIR_DOMAIN_EVENT_ID_VCPU_REMOVED"

# libvirt/libvirt-domain.h: virDomainEventType, and its details; as numbers, so that no library is needed.
_STARTED, _RESUMED, _STOPPED = 2, 4, 5
_START_REASONS = {0: "booted", 1: "migrated", 2: "restored", 3: "snapshot", 4: "wakeup"}
_STOP_REASONS = {
    0: "shutdown", 1: "destroyed", 2: "crashed", 3: "migrated", 4: "saved", 5: "failed", 6: "snapshot",
}  # fmt: skip
_MIGRATED_IN, _MIGRATED_AWAY, _RESUMED_AFTER_MIGRATION = 1, 3, 1
# virConnectDomainEventAgentLifecycleState, and the reason that only reports the state at the domain's start.
_AGENT_STATES = {1: translate.AGENT_CONNECTED, 2: translate.AGENT_DISCONNECTED}
_AT_START = 1

_QEMU_EVENTS = ("ACPI_DEVICE_OST", "DEVICE_DELETED")
_AS_PATTERN = "|".join(f"^{name}$" for name in _QEMU_EVENTS)
_REGEX = 1
# Such an event has some 200 characters.
_LONGEST = 4096


class DomainEvent(NamedTuple):
    """An event of a domain; ``kind`` is None for one that only hints that vCPUs may have changed."""

    name: str
    uuid: str
    id: int
    kind: str | None = None
    details: Mapping[str, Any] = EMPTY


Receive = Callable[[DomainEvent], None]


def of_lifecycle(event: int, detail: int) -> tuple[str, dict[str, str]] | None:
    """Return the kind and the details of a lifecycle event; None for one of no interest."""
    if event == _STARTED:
        if detail == _MIGRATED_IN:
            return ARRIVES, {}
        return STARTED, _reason(_START_REASONS, detail)
    if event == _STOPPED:
        if detail == _MIGRATED_AWAY:
            return MIGRATED, {"direction": "out"}
        return STOPPED, _reason(_STOP_REASONS, detail)
    if event == _RESUMED and detail == _RESUMED_AFTER_MIGRATION:
        return MIGRATED, {"direction": "in"}
    return None


def _reason(names: Mapping[int, str], detail: int) -> dict[str, str]:
    return {"reason": names[detail]} if detail in names else {}


def of_agent(state: int, reason: int) -> str | None:
    """Return the kind of an event of the agent's state."""
    return None if reason == _AT_START else _AGENT_STATES.get(state)


def of_monitor(name: str, text: str | None) -> tuple[str | None, Mapping[str, Any]] | None:
    """Return the kind and the details of an event of QEMU's monitor, the kind None for a hint; None if malformed."""
    if name not in _QEMU_EVENTS or not text or len(text) > _LONGEST:
        return None
    try:
        found = translate.of_qemu(name, read_object(text))
    except ValueError:
        return None
    return (None, {}) if found is None else (found.kind, found.details)


class Subscription:
    """Passes the events of a read-write connection to ``receive``, in the event loop, until that is closed."""

    def __init__(self, connection: Connection, receive: Receive) -> None:
        self._connection = connection
        self._receive = receive
        self._loop = asyncio.get_running_loop()

    async def open(self) -> None:
        """Subscribe to all events; raises ``HotplugError``, or ``LibvirtCallError`` if libvirt refuses one."""
        library, handle = imported(), self._connection.handle
        callbacks: dict[str, Callable[..., None]] = {
            _LIFECYCLE: lambda _conn, domain, event, detail, _opaque: self._pass(domain, of_lifecycle(event, detail)),
            _REBOOT: lambda _conn, domain, _opaque: self._pass(domain, (translate.RESET, {})),
            _AGENT: lambda _conn, domain, state, reason, _opaque: self._pass_kind(domain, of_agent(state, reason)),
            _REFUSED: lambda _conn, domain, alias, _opaque: self._refused(domain, alias),
            _VCPU_REMOVED: lambda _conn, domain, *_details: self._pass(domain, (None, {})),
        }
        for kind, callback in callbacks.items():
            number = getattr(library, kind, None)
            if number is None:
                continue
            if kind != _VCPU_REMOVED:
                await self._connection.call(handle.domainEventRegisterAny, None, number, callback, None)
                continue
            # Daemons older than the library do not support it; without it, a removal is found a little later.
            with contextlib.suppress(LibvirtCallError):
                await self._connection.call(handle.domainEventRegisterAny, None, number, callback, None)
        await self._connection.call(
            imported_for_qemu().qemuMonitorEventRegister, handle, None, _AS_PATTERN, self._from_qemu, None, _REGEX
        )

    def _from_qemu(
        self, _conn: Any, domain: Any, name: str, _seconds: int, _micros: int, text: str | None, _opaque: Any
    ) -> None:
        self._pass(domain, of_monitor(name, text))

    def _refused(self, domain: Any, alias: str) -> None:
        # Of other devices than CPUs, it is of no interest.
        if alias.startswith("vcpu"):
            self._pass(domain, (translate.UNPLUG_REFUSED, {}))

    def _pass_kind(self, domain: Any, kind: str | None) -> None:
        self._pass(domain, None if kind is None else (kind, {}))

    def _pass(self, domain: Any, found: tuple[str | None, Mapping[str, Any]] | None) -> None:
        """Pass an event on from the library's own thread."""
        if found is None:
            return
        event = DomainEvent(domain.name(), domain.UUIDString(), domain.ID(), *found)
        # The source may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._receive, event)
