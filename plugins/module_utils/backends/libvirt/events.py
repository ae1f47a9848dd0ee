# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of plugs and unplugs over libvirt: QEMU's own events, and libvirt's."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import (
    Connection,
    imported,
    imported_for_qemu,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.messages import read_object
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, MissingLibrary

if TYPE_CHECKING:
    import libvirt

    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.ost_tracker import OstTracker

_EVENTS = ("ACPI_DEVICE_OST", "DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR", "RESET")
# Other events of a hypervisor's guests are ignored.
_EVENTS_OF_LIBVIRT = "|".join(f"^{name}$" for name in _EVENTS)
_REGEX = 1
# Such an event has some 200 characters.
_LONGEST = 4096


class EventRouter:
    """Receives the events of all domains of one connection, so that a batch need not register for every guest."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._listeners: dict[str, OstTracker] = {}
        self._opening = asyncio.Lock()
        self._is_open = False
        self._stop: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.refused: str | None = None

    async def listen(self, domain: libvirt.virDomain, tracker: OstTracker) -> None:
        """Pass events of ``domain`` to ``tracker`` from now on.

        ``refused`` is then the reason if QEMU's events are unavailable. Raises ``HotplugError``.
        """
        async with self._opening:
            if not self._is_open:
                await self._open()
                self._is_open = True
        self._listeners[domain.UUIDString()] = tracker

    def leave(self, domain: libvirt.virDomain) -> None:
        """Stop passing events of ``domain``."""
        self._listeners.pop(domain.UUIDString(), None)

    async def close(self) -> None:
        """Stop receiving events; never raises."""
        for function, arguments in self._stop:
            # A closed connection has ended the registration too.
            with contextlib.suppress(LibvirtCallError, HotplugError):
                await self._connection.call(function, *arguments)
        self._stop = []

    async def _open(self) -> None:
        library = imported()
        loop = asyncio.get_running_loop()
        connection = self._connection.handle

        def notify(domain: libvirt.virDomain, event: Any) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._receive, domain.UUIDString(), event)

        def from_qemu(
            _connection: Any, domain: Any, name: str, _seconds: int, _micros: int, details: str | None, _opaque: Any
        ) -> None:
            if name in _EVENTS and details and len(details) <= _LONGEST:
                with contextlib.suppress(ValueError):
                    notify(domain, {"event": name, "data": read_object(details)})

        def removed(_connection: Any, domain: Any, _what: object, _opaque: Any) -> None:
            notify(domain, None)

        def failed(_connection: Any, domain: Any, alias: str, _opaque: Any) -> None:
            notify(domain, {"event": "DEVICE_UNPLUG_GUEST_ERROR", "data": {"device": alias}})

        try:
            qemu = imported_for_qemu()
            number = await self._connection.call(
                qemu.qemuMonitorEventRegister, connection, None, _EVENTS_OF_LIBVIRT, from_qemu, None, _REGEX
            )
            self._stop.append((qemu.qemuMonitorEventDeregister, (connection, number)))
        except (LibvirtCallError, MissingLibrary) as error:
            self.refused = error.desc if isinstance(error, LibvirtCallError) else error.msg
        kinds = [
            ("VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED", removed),
            ("VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED", failed),
            ("VIR_DOMAIN_EVENT_ID_VCPU_REMOVED", removed),
        ]
        for kind, callback in kinds:
            if not hasattr(library, kind):
                continue
            # Older daemons do not support the newer events; these only end a wait a little earlier.
            with contextlib.suppress(LibvirtCallError):
                number = await self._connection.call(
                    connection.domainEventRegisterAny, None, getattr(library, kind), callback, None
                )
                self._stop.append((connection.domainEventDeregisterAny, (number,)))

    def _receive(self, uuid: str, event: Any) -> None:
        tracker = self._listeners.get(uuid)
        if tracker is None:
            return
        if event is None:
            tracker.wake()
        else:
            tracker.process(event)
