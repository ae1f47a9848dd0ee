# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find guests and hosts: the guests of a libvirt daemon or of a pattern of sockets, and the host of each guest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Host
from ansible_collections.kvm.hotplug.plugins.module_utils.request.batch import sockets_of
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import guest_ref, names_one
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import parse_timeout

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import Connections
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.host import InspectHost


async def guests_named(params: Mapping[str, Any], kept: Connections) -> list[dict[str, Any]]:
    """Return the options of each guest that options of ``vcpu_info`` name; raises ``HotplugError``."""
    if params["qmp_sockets"] is not None:
        if names_one(params):
            raise HotplugError(
                CONFLICTING_REQUEST, "qmp_sockets cannot be combined with options that name a guest: omit one of them"
            )
        return [{**params, "qmp_socket": socket} for socket in sockets_of(params["qmp_sockets"])]
    if names_one(params):
        return [dict(params)]
    return [{**params, "name": uuid, "title": name} for uuid, name in (await _names_at(params, kept)).items()]


def host_inspector(options: Sequence[Mapping[str, Any]], kept: Connections) -> InspectHost:
    """Return a function that inspects a host: through the libvirt of a guest there, or else only this host's CPUs."""
    uris = {guest_ref(params).host: params["uri"] for params in options if params["name"] is not None}

    async def inspect_host(name: str) -> Host:
        if name not in uris:
            return Host(name, os.cpu_count() or 1)
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.host import observe

        timeout = parse_timeout(options[0])
        return await observe(await kept.pool.connection(uris[name], True, timeout))

    return inspect_host


async def _names_at(params: Mapping[str, Any], kept: Connections) -> dict[str, str]:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.host import names_of_all

    return await names_of_all(await kept.pool.connection(params["uri"], True, parse_timeout(params)))
