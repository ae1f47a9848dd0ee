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

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import (
    INVALID_ARGUMENT,
    NO_DOMAIN,
    LibvirtCallError,
)
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


class Connection:
    """An open connection; ``reading`` ones are read-only. ``patience`` limits each call, in seconds."""

    def __init__(self, uri: str, reading: bool, patience: float) -> None:
        self.uri = uri
        self.reading = reading
        self._patience = patience + MARGIN_SECONDS
        self._open: libvirt.virConnect | None = None
        self._attachments: dict[Callable[[Connection], Any], Any] = {}

    async def open(self) -> None:
        """Connect; a driver of libvirt other than QEMU's is refused.

        Raises ``MissingLibrary``, or ``HotplugError``: monitor_unreachable, hotplug_unsupported.
        """
        library = imported()
        if not self.reading:
            # Before the connection, which needs an event loop; a read-only connection receives no events.
            _run_events(library)
        opener = library.openReadOnly if self.reading else library.open
        try:
            self._open = await self._in_thread(opener, self.uri)
        except LibvirtCallError as error:
            raise HotplugError(
                MONITOR_UNREACHABLE,
                f"cannot connect to libvirt at {printable(self.uri)}: {error.desc}; check that its daemon runs and "
                "that this user may connect (become: true)",
            ) from None
        await self._check_driver()
        if not self.reading:
            # Not every transport supports it; those that do not detect the end of the peer by themselves.
            with contextlib.suppress(LibvirtCallError):
                await self._in_thread(self.handle.setKeepAlive, *KEEPALIVE)

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
        done = asyncio.ensure_future(_in_thread(connection.close))
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
            return await asyncio.wait_for(_in_thread(function, *arguments), self._patience)
        except asyncio.TimeoutError:
            raise HotplugError(
                CONNECTION_LOST,
                f"libvirt at {printable(self.uri)} has not replied within {self._patience:.0f} s: see the daemon's log",
            ) from None


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


async def _in_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    """Run a blocking call in a daemon thread, so that a libvirt daemon that hangs does not block the task's end."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Result] = loop.create_future()

    def settle(result: Any, failure: Exception | None) -> None:
        if answer.done():
            return
        if failure is None:
            answer.set_result(result)
        else:
            answer.set_exception(failure)

    def work() -> None:
        result: Any = None
        failure: Exception | None = None
        try:
            result = function(*arguments)
        except Exception as error:  # noqa: BLE001 - every error is passed to the caller
            failure = _as_refusal(error)
        # After the loop is closed, no caller waits for this.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, name="libvirt", daemon=True).start()
    return await answer


def _as_refusal(error: Any) -> Exception:
    if not hasattr(error, "get_error_code"):
        return error  # type: ignore[no-any-return]
    return LibvirtCallError(error.get_error_code() or 0, str(error), error.get_int1() or 0)


@functools.cache
def _run_events(library: Any) -> None:
    """Run the library's event loop in a thread that lives as long as the process; there can be only one."""
    library.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            library.virEventRunDefaultImpl()

    threading.Thread(target=run, name="libvirt events", daemon=True).start()
