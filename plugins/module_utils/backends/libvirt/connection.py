# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to a libvirt daemon: its blocking calls run in threads, and every failure becomes a HotplugError."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import threading
from typing import TYPE_CHECKING, Any, Callable, Protocol, TypeVar

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.calls import BlockingCall
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import (
    AUTH_CANCELLED,
    AUTH_FAILED,
    INVALID_ARGUMENT,
    NO_DOMAIN,
    LibvirtCallError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.uris import is_remote
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONNECTION_LOST,
    GUEST_NOT_FOUND,
    HOTPLUG_UNSUPPORTED,
    MONITOR_UNREACHABLE,
    HotplugError,
    MissingLibrary,
    printable,
)

if TYPE_CHECKING:
    import libvirt

CLOSING_SECONDS = 5.0
# An ssh to a slow host needs some seconds; a host that does not reply would take the system minutes.
CONNECTING_SECONDS = 30.0
# libvirt itself times out after 30 seconds if another call holds the guest, and after 10 seconds for an unplug.
MARGIN_SECONDS = 45.0
KEEPALIVE = (5, 4)  # seconds, times

# virConnectGetType of the driver for QEMU, under KVM or not.
_DRIVER = "QEMU"

# An integer of C.
_HIGHEST_ID = 2**31 - 1
_UUID = re.compile(r"[0-9A-Fa-f]{8}-?(?:[0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}")

Result = TypeVar("Result")


class Attachment(Protocol):
    """What uses a connection until that is closed."""

    async def close(self) -> None:
        """End its use of the connection; never raises."""


Attached = TypeVar("Attached", bound=Attachment)


class ConnectingTimedOut(HotplugError):
    """A host or its libvirt daemon did not complete a connection in time (monitor_unreachable)."""


class Connection:
    """An open connection; ``reading`` ones are read-only. ``patience`` limits each call, in seconds."""

    def __init__(self, uri: str, reading: bool, patience: float) -> None:
        self.uri = uri
        self.reading = reading
        self._connecting_seconds = min(CONNECTING_SECONDS, patience)
        self._patience = patience + MARGIN_SECONDS
        self._open: libvirt.virConnect | None = None
        self._attachments: dict[Callable[[Connection], Any], Any] = {}

    async def open(self) -> None:
        """Connect; a driver of libvirt other than QEMU's is refused.

        Raises ``MissingLibrary``, or ``HotplugError``: monitor_unreachable, hotplug_unsupported.
        """
        library = imported()
        watched = not self.reading or is_remote(self.uri)
        if watched:
            # Before the connection, which needs an event loop for events and to detect that a remote host is gone.
            _run_events(library)
        # Unlike virConnectOpen, this one uses libvirt's auth.conf.
        credentials = [[library.VIR_CRED_AUTHNAME, library.VIR_CRED_PASSPHRASE], _not_in_auth_conf, None]
        flags = library.VIR_CONNECT_RO if self.reading else 0
        await self._connect(BlockingCall(library.openAuth, self.uri, credentials, flags))
        await self._check_driver()
        if watched:
            # Not every transport supports it; those that do not detect the end of the peer by themselves.
            with contextlib.suppress(LibvirtCallError):
                await self._in_thread(self.handle.setKeepAlive, *KEEPALIVE)

    async def _connect(self, call: BlockingCall[libvirt.virConnect]) -> None:
        try:
            self._open = await call.result(self._connecting_seconds)
        except asyncio.TimeoutError:
            raise ConnectingTimedOut(
                MONITOR_UNREACHABLE,
                f"libvirt at {printable(self.uri)} did not complete the connection within "
                f"{self._connecting_seconds:g} s: check that the host can be reached and that its daemon replies",
            ) from None
        except LibvirtCallError as error:
            remedy = "check that its daemon runs and that this user may connect (become: true)"
            if error.number in (AUTH_FAILED, AUTH_CANCELLED):
                remedy = "check the name and the password in libvirt's auth.conf, or in the authfile of the uri"
            raise HotplugError(
                MONITOR_UNREACHABLE, f"cannot connect to libvirt at {printable(self.uri)}: {error.desc}; {remedy}"
            ) from None
        finally:
            call.abort()

    async def _check_driver(self) -> None:
        try:
            driver = await self._in_thread(self.handle.getType)
        except LibvirtCallError as error:
            raise error.error(f"cannot look at libvirt at {printable(self.uri)}") from None
        if driver.upper() != _DRIVER:
            raise HotplugError(
                HOTPLUG_UNSUPPORTED,
                f"libvirt at {printable(self.uri)} has guests of its driver {printable(driver)}, and only guests of "
                "QEMU can be managed: name a uri of the QEMU driver, such as qemu:///system",
            )

    @property
    def handle(self) -> libvirt.virConnect:
        """The library's own object."""
        if self._open is None:
            raise HotplugError(CONNECTION_LOST, f"the connection to libvirt at {printable(self.uri)} was closed")
        return self._open

    async def find(self, name: str) -> libvirt.virDomain:
        """Return the domain of a name, UUID or id; raises ``HotplugError`` (guest_not_found)."""
        for lookup in self._lookups(name):
            try:
                return await self.call(*lookup)
            except LibvirtCallError as error:
                if error.number not in (NO_DOMAIN, INVALID_ARGUMENT):
                    raise error.error(f"cannot find guest {printable(name)}") from None
        raise HotplugError(
            GUEST_NOT_FOUND,
            f"libvirt at {printable(self.uri)} has no guest named {printable(name)}: virsh list --all shows its guests",
        )

    async def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call the library; raises ``LibvirtCallError``, ``HotplugError`` (connection_lost) without a daemon."""
        try:
            return await self._in_thread(function, *arguments)
        except LibvirtCallError as error:
            if self._open is not None and not await self.is_alive():
                raise HotplugError(
                    CONNECTION_LOST, f"the connection to libvirt at {printable(self.uri)} broke: {error.desc}"
                ) from None
            raise

    async def is_alive(self) -> bool:
        """Return whether the daemon is still connected."""
        try:
            return bool(await self._in_thread(self.handle.isAlive))
        except (LibvirtCallError, HotplugError):
            return False

    def attached(self, create: Callable[[Connection], Attached]) -> Attached:
        """Return what ``create`` made for this connection, now or before; it is closed with the connection."""
        if create not in self._attachments:
            self._attachments[create] = create(self)
        found: Attached = self._attachments[create]
        return found

    async def close(self) -> None:
        """Close what is attached, and the connection; never raises."""
        attachments, self._attachments = self._attachments, {}
        for attachment in attachments.values():
            await attachment.close()
        connection, self._open = self._open, None
        if connection is None:
            return
        done = asyncio.ensure_future(BlockingCall(connection.close).result())
        await asyncio.wait([done], timeout=CLOSING_SECONDS)
        if done.done() and not done.cancelled():
            # A broken connection cannot be closed in another way.
            done.exception()
        else:
            done.cancel()

    def _lookups(self, name: str) -> list[tuple[Callable[..., Any], Any]]:
        # Text for the library ends at a NUL.
        found: list[tuple[Callable[..., Any], Any]] = [] if "\0" in name else [(self.handle.lookupByName, name)]
        if _UUID.fullmatch(name):
            found.append((self.handle.lookupByUUIDString, name))
        if name.isascii() and name.isdecimal() and len(name) <= 10 and int(name) <= _HIGHEST_ID:
            found.append((self.handle.lookupByID, int(name)))
        return found

    async def _in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        try:
            return await BlockingCall(function, *arguments).result(self._patience)
        except asyncio.TimeoutError:
            raise HotplugError(
                CONNECTION_LOST,
                f"libvirt at {printable(self.uri)} has not replied within {self._patience:.0f} s: see the daemon's log",
            ) from None


def _not_in_auth_conf(_credentials: list[list[Any]], _opaque: None) -> int:
    """Give no credentials: nobody can be asked for them."""
    return -1


def imported() -> Any:
    """Return the library; raises ``MissingLibrary``."""
    try:
        import libvirt
    except ImportError:
        raise MissingLibrary("libvirt-python", "https://pypi.org/project/libvirt-python/") from None
    # Without a handler, the library prints every error.
    libvirt.registerErrorHandler(lambda _opaque, _error: None, None)
    return libvirt


def imported_for_qemu() -> Any:
    """Return the part of the library for direct access to QEMU; raises ``MissingLibrary``."""
    try:
        import libvirt_qemu
    except ImportError:
        raise MissingLibrary("libvirt-python", "https://pypi.org/project/libvirt-python/") from None
    return libvirt_qemu


@functools.cache
def _run_events(library: Any) -> None:
    """Run the library's event loop in a thread that lives as long as the process; there can be only one."""
    library.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            library.virEventRunDefaultImpl()

    threading.Thread(target=run, name="libvirt events", daemon=True).start()
