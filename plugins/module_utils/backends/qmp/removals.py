# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wait for the vCPUs that QEMU is still removing, before another one is plugged.

QEMU first empties the slot of an unplugged vCPU, then waits for the vCPU's thread to end, and removes the device last.
Meanwhile it accepts a plug into the same slot under another device id, and ends ("Detected duplicate SaveStateEntry").
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import occupied
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import UNPLUG_PENDING, HotplugError, printable

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.monitor import Command, Monitor

# The devices with an id, those plugged without one, and those QEMU was started with.
_WITH_ID = "/machine/peripheral"
_CONTAINERS = (_WITH_ID, "/machine/peripheral-anon", "/machine/unattached")

# The slots first: a device whose slot is empty afterwards is being removed.
_QUERIES: tuple[Command, ...] = (
    ("query-hotpluggable-cpus", {}),
    *(("qom-list", {"path": container}) for container in _CONTAINERS),
)

# A removal takes milliseconds, on a busy host as long as the vCPU's thread does not get a CPU.
REMOVAL_SECONDS = 10.0
_POLL_SECONDS = (0.01, 0.2)


async def ids_after_removals(monitor: Monitor, drivers: Collection[str]) -> frozenset[str]:
    """Return the ids of all devices that have one, as soon as no vCPU of ``drivers`` is being removed.

    Raises ``HotplugError``: unplug_pending if one is still being removed after ``REMOVAL_SECONDS``, connection_lost,
    monitor_unreachable for a malformed reply.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + REMOVAL_SECONDS
    pause, longest = _POLL_SECONDS
    while True:
        replies = await monitor.execute_all(_QUERIES)
        for reply in replies:
            if isinstance(reply, HotplugError):
                raise reply
        ids, removing = _read_devices(replies, drivers)
        if not removing:
            return ids
        if loop.time() > deadline:
            raise HotplugError(
                UNPLUG_PENDING,
                f"QEMU is still removing a vCPU that was unplugged ({printable(', '.join(removing), 200)}), and may "
                "end if one is plugged meanwhile, so nothing was plugged: run the task again; if it fails again, the "
                "host thread of that vCPU does not end",
            )
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)


def _read_devices(replies: list[Any], drivers: Collection[str]) -> tuple[frozenset[str], list[str]]:
    """The ids of all devices that have one, and the QOM paths of the vCPUs that are being removed."""
    slots_reply, *listings = replies
    present = occupied(slots_reply)
    children = [
        (container, name, kind)
        for container, listing in zip(_CONTAINERS, listings)
        for name, kind in _children(listing)
    ]
    kinds = {f"child<{driver}>" for driver in drivers}
    paths = (f"{container}/{name}" for container, name, kind in children if kind in kinds)
    ids = frozenset(name for container, name, _kind in children if container == _WITH_ID)
    return ids, [path for path in paths if path not in present]


def _children(listing: Any) -> Iterator[tuple[str, str]]:
    """The names and types in a reply to qom-list; none if QEMU has no such container."""
    if isinstance(listing, CommandError) or not isinstance(listing, list):
        return
    for child in listing:
        name, kind = (child.get("name"), child.get("type")) if isinstance(child, dict) else (None, None)
        if isinstance(name, str) and isinstance(kind, str):
            yield name, kind
