# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Common parts of sessions with QEMU's monitor and with a guest agent: address, errors, and the end."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

CLOSING_SECONDS = 2.0


class CommandError(Exception):
    """QEMU replied to a command with an error; ``kind`` is its class, ``desc`` its text."""

    def __init__(self, kind: str, desc: str) -> None:
        super().__init__(desc)
        self.kind = kind
        self.desc = printable(desc)


def parse_address(text: str) -> str | tuple[str, int]:
    """Return the address for asyncio: a path, or host and port.

    A text with a slash is a path; ``host:port`` and ``[v6]:port`` are TCP; anything else is a path.
    """
    if "/" not in text:
        host, colon, port = text.rpartition(":")
        if colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            return host.strip("[]"), int(port)
    return text


def is_no_socket(address: str) -> bool:
    """Return whether an address is the path of a file that is no socket, which shows nothing about the guest."""
    path = parse_address(address)
    try:
        return isinstance(path, str) and not stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


async def disconnect(client: QMPClient) -> BaseException | None:
    """Disconnect within a short time, and return the error that had ended the session, if any."""
    disconnection = asyncio.ensure_future(client.disconnect())
    await asyncio.wait([disconnection], timeout=CLOSING_SECONDS)
    if not disconnection.done():
        disconnection.cancel()
        return None
    # qemu.qmp raises here the error that had ended the session.
    return disconnection.exception()


def describe(error: BaseException) -> str:
    """Describe the error that ended a session, safe to print."""
    if isinstance(error, EOFError):
        return "the peer closed it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # As text, qemu.qmp's errors contain the peer's whole message: take the sentence, and that of what they wrap.
    sentence = getattr(error, "error_message", error)
    wrapped = getattr(error, "exc", None)
    if isinstance(wrapped, BaseException):
        return printable(f"{printable(sentence)}: {describe(wrapped)}")
    return printable(sentence) or type(error).__name__
