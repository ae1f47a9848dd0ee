# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the event source, and all of its guests, watched at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError, printable
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import LIBVIRT, guest_ref, names_one
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.outbox import Outbox
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.tracker import Tracker

_DEFAULT_URI = "qemu:///system"
_OPTIONS = ("guests", "statistics")
# ansible-rulebook adds it for a source that is to get replies.
_OF_RULEBOOKS = ("eda_feedback_queue",)
_LONGEST_INTERVAL = 86400


async def watch_all(queue: asyncio.Queue[Any], args: Mapping[str, Any]) -> None:
    """Put the events of all guests into ``queue`` until cancelled.

    Raises ``HotplugError``: conflicting_request for invalid options, or ``MissingLibrary``.
    """
    guests, statistics = _guests(args), _statistics(args)
    work: list[Coroutine[Any, Any, None]] = []
    by_uri: dict[str, dict[str, Tracker]] = {}
    for guest in guests:
        options = {option: value for option, value in guest.items() if option != "events_socket"}
        label = guest_ref(options).label
        outbox = Outbox(queue, {"guest": label, "options": options})
        tracker = Tracker(label, outbox)
        work.append(outbox.run())
        if guest_ref(options).backend == LIBVIRT:
            by_uri.setdefault(options.get("uri", _DEFAULT_URI), {})[str(options["name"])] = tracker
        else:
            work.append(_watch_qmp(guest["events_socket"], tracker, statistics))
    work += [_watch_libvirt(uri, trackers, statistics) for uri, trackers in by_uri.items()]
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watch_qmp(address: str, tracker: Tracker, statistics: float | None) -> None:
    from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.qmp_watch import QmpWatch

    await QmpWatch(address, tracker, statistics).run()


async def _watch_libvirt(uri: str, trackers: Mapping[str, Tracker], statistics: float | None) -> None:
    from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.libvirt_watch import LibvirtWatch

    await LibvirtWatch(uri, trackers, statistics).run()


def _guests(args: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    unknown = [printable(option) for option in args if option not in (*_OPTIONS, *_OF_RULEBOOKS)]
    if unknown:
        raise _invalid(f"the event source has no options {', '.join(unknown)}: use {', '.join(_OPTIONS)}")
    guests = args.get("guests")
    if not isinstance(guests, list) or not guests:
        raise _invalid("guests must be a list of at least one guest")
    places: set[tuple[str, ...]] = set()
    for number, guest in enumerate(guests):
        problem = _problem(guest, places)
        if problem is not None:
            raise _invalid(f"guests[{number}]: {problem}")
    return guests


def _problem(guest: object, places: set[tuple[str, ...]]) -> str | None:
    """Return what is wrong with one guest, and add to ``places`` what identifies it."""
    if not isinstance(guest, Mapping) or not all(isinstance(option, str) for option in guest):
        return "it must be a dictionary of options"
    if not names_one(guest):
        return "set name, qmp_socket, agent_socket or domain_xml, which name the guest for the modules"
    ref = guest_ref({**guest, "uri": guest.get("uri", _DEFAULT_URI)})
    socket = guest.get("events_socket")
    if ref.backend == LIBVIRT:
        if socket is not None or any(guest.get(way) is not None for way in ("qmp_socket", "agent_socket")):
            return "the events of a guest of name come from libvirt: omit events_socket, qmp_socket and agent_socket"
        if not isinstance(ref.uri, str):
            return "uri must be a text"
        own: tuple[str, ...] = ("name", ref.uri, str(ref.name))
    else:
        if not isinstance(socket, str):
            return "set events_socket, a QMP socket of the guest that only this event source uses"
        if socket == guest.get("qmp_socket"):
            return "events_socket must not be qmp_socket, because QEMU serves one client per QMP socket"
        own = ("events_socket", socket)
    if own in places:
        return f"{ref.label} is in the list already"
    places.add(own)
    return None


def _statistics(args: Mapping[str, Any]) -> float | None:
    seconds = args.get("statistics")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 1 <= seconds <= _LONGEST_INTERVAL:
        raise _invalid(f"statistics is {printable(seconds)}: give a number of seconds from 1 to {_LONGEST_INTERVAL}")
    return float(seconds)


def _invalid(msg: str) -> HotplugError:
    return HotplugError(CONFLICTING_REQUEST, msg)
