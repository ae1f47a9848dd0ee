# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the guest's system handles CPU hotplug events, by the ACPI register in which it enables them.

QEMU accepts requests to unplug as soon as firmware has set ACPI up, and on some versions and after a reset at any
time. It keeps a request that the guest does not handle, and the guest carries it out at the next hotplug event.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from typing import Any, Callable, Optional

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError

# Returns what QEMU returns for a command and its arguments; raises ``CommandError``.
Execute = Callable[..., Awaitable[Any]]
IsListening = Callable[[], Awaitable[Optional[bool]]]

# On pc and q35, the ACPI device of the machine has the block of general purpose events 0: half of it is their status,
# half of it enables them, and event 2 is that of CPU hotplug.
_DEVICE = "/machine/acpi-device"
_CPU_HOTPLUG = 1 << 2
# Below are the ports of the ISA bus: until firmware has placed it, the block is at 0x20.
_LOWEST_PORT = 0x100
_HIGHEST_PORT = 0xFFFF
# What is read of a port that nothing is mapped to.
_UNMAPPED = 0xFF
_REPLY = re.compile(r"portb\[0x[0-9a-f]{1,8}\] = 0x([0-9a-f]{1,2})\s*")

# Linux disables an event as long as it handles it.
_LOOKS = 10
_LOOK_SECONDS = 0.02


async def is_listening(execute: Execute) -> bool | None:
    """Return whether the guest handles CPU hotplug events now, None where QEMU does not show it.

    It does not while it starts, from a reset on until its system is up again, and while it shuts down.
    """
    for _look in range(_LOOKS):
        enabled = await _enabled_events(execute)
        if enabled is None:
            return None
        if enabled == _UNMAPPED:
            return False
        if enabled & _CPU_HOTPLUG:
            return True
        await asyncio.sleep(_LOOK_SECONDS)
    return False


async def _enabled_events(execute: Execute) -> int | None:
    """The events 0 to 7 that the guest has enabled."""
    try:
        # At once, because a running guest delays the reply to each query.
        block, length = await asyncio.gather(
            execute("qom-get", path=_DEVICE, property="gpe0_blk"),
            execute("qom-get", path=_DEVICE, property="gpe0_blk_len"),
        )
        if not isinstance(block, int) or not isinstance(length, int):
            return None
        port = block + length // 2
        if not _LOWEST_PORT <= port <= _HIGHEST_PORT:
            return _UNMAPPED
        reply = await execute("human-monitor-command", **{"command-line": f"i /b {port:#x}"})
    except CommandError:
        return None
    match = _REPLY.fullmatch(reply) if isinstance(reply, str) else None
    return int(match.group(1), 16) if match else None
