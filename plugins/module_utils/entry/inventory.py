# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin ``kvm.hotplug.guests``: all guests of libvirt daemons and QMP sockets, inspected at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Callable
from urllib.parse import urlsplit

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import Connections, connections
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.discover import guests_named
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.readers import reader_of
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, MissingLibrary
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import guest_ref
from ansible_collections.kvm.hotplug.plugins.module_utils.request.limits import check_concurrency
from ansible_collections.kvm.hotplug.plugins.module_utils.run.inspection import Inspection, inspect_all

# One of the options ``uris`` and ``qmp_sockets``, and one of its entries.
Place = tuple[str, str]
FindGuests = Callable[[Mapping[str, Any], Connections], Awaitable[list[dict[str, Any]]]]
InspectGuests = Callable[[Mapping[Any, Any], int], Awaitable[list[Inspection]]]


async def inspect_places(
    places: Sequence[Place],
    params: Mapping[str, Any],
    find: FindGuests = guests_named,
    inspect: InspectGuests = inspect_all,
) -> tuple[dict[Place, dict[str, Inspection]], dict[Place, str]]:
    """Inspect all guests of URIs and socket patterns.

    Returns for each place its guests by their names or sockets there, and for each place whose guests could not be
    listed the reason. ``find`` lists the guests of a place, ``inspect`` inspects them. Raises ``HotplugError``:
    ``MissingLibrary``, or for options out of range.
    """
    concurrency = check_concurrency(params["max_concurrency"])
    failures: dict[Place, str] = {}

    async def listed(kind: str, place: str, kept: Connections) -> list[dict[str, Any]]:
        try:
            return await find({**params, **_options_at(kind, place)}, kept)
        except MissingLibrary:
            raise
        except HotplugError as error:
            failures[kind, place] = error.msg
            return []

    async with connections() as kept:
        named = await asyncio.gather(*(listed(kind, place, kept) for kind, place in places))
        # A socket that several patterns match is inspected once, because a monitor serves one client at a time.
        sources = {guest_ref(one): reader_of(one, kept) for options in named for one in options}
        by_ref = {inspection.ref: inspection for inspection in await inspect(sources, concurrency)}
    for inspection in by_ref.values():
        if isinstance(inspection.error, MissingLibrary):
            raise inspection.error
    inspections = {
        place: {one["name"] or one["qmp_socket"]: by_ref[guest_ref(one)] for one in options}
        for place, options in zip(places, named)
        if place not in failures
    }
    return inspections, failures


def _options_at(kind: str, place: str) -> dict[str, Any]:
    """The options that name all guests of a URI or a pattern."""
    if kind == "qmp_sockets":
        return {"qmp_sockets": [place]}
    # The QEMU binary of a remote host cannot be started here.
    return {"uri": place, "probe": "never" if urlsplit(place).hostname else "auto"}
