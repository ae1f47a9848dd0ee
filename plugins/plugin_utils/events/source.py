# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests that the arguments of the event source name, watched at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError, printable
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import guest_ref, names_one
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.qmp_watch import QmpWatch


async def watch_all(queue: asyncio.Queue[Any], args: Mapping[str, Any]) -> None:
    """Put the events of all guests into ``queue`` until cancelled; raises ``HotplugError`` (conflicting_request)."""
    watches = [_watch(queue, guest) for guest in _guests(args)]
    tasks = [asyncio.ensure_future(watch.run()) for watch in watches]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _guests(args: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    guests = args.get("guests")
    if not isinstance(guests, list) or not guests:
        raise HotplugError(CONFLICTING_REQUEST, "guests must be a list of at least one guest")
    for guest in guests:
        if not isinstance(guest, Mapping) or not names_one(guest) or not isinstance(guest.get("events_socket"), str):
            raise HotplugError(
                CONFLICTING_REQUEST,
                f"guests contains {printable(guest)}: give each guest an events_socket and the options that name it",
            )
    return guests


def _watch(queue: asyncio.Queue[Any], guest: Mapping[str, Any]) -> QmpWatch:
    options = {option: value for option, value in guest.items() if option != "events_socket"}
    label = guest_ref(options).label

    async def report(event: dict[str, Any]) -> None:
        await queue.put({**event, "label": label, "guest": options})

    return QmpWatch(guest["events_socket"], report)
