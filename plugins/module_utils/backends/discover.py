# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the guests of a libvirt daemon or of patterns of sockets."""

from __future__ import annotations

import glob
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import names_one
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import parse_timeout

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import Connections


async def names_at(params: Mapping[str, Any], kept: Connections) -> dict[str, str]:
    """Return the names of all guests of a libvirt daemon by their UUIDs; raises ``HotplugError``."""
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.host import names_of_all

    return await names_of_all(await kept.pool.connection(params["uri"], True, parse_timeout(params)))


async def guests_named(
    params: Mapping[str, Any],
    kept: Connections,
    list_names: Callable[[Mapping[str, Any], Connections], Awaitable[dict[str, str]]] = names_at,
) -> list[dict[str, Any]]:
    """Return the options of each guest that options of ``vcpu_info`` name; raises ``HotplugError``."""
    if params["qmp_sockets"] is not None:
        if names_one(params):
            raise HotplugError(
                CONFLICTING_REQUEST, "qmp_sockets cannot be combined with options that name a guest: omit one of them"
            )
        return [{**params, "qmp_socket": socket} for socket in sockets_of(params["qmp_sockets"])]
    if names_one(params):
        return [dict(params)]
    return [{**params, "name": uuid, "title": name} for uuid, name in (await list_names(params, kept)).items()]


def sockets_of(patterns: Sequence[str]) -> list[str]:
    """Return the sockets that match shell patterns, in order; raises ``HotplugError`` for a pattern without a match."""
    found: dict[str, None] = {}
    for pattern in patterns:
        paths = sorted(glob.glob(pattern))
        if not paths:
            raise HotplugError(
                CONFLICTING_REQUEST, f"qmp_sockets: no file matches {pattern}; check the path of the sockets"
            )
        found.update(dict.fromkeys(paths))
    return list(found)
