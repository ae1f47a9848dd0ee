# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose how the host of each guest is inspected."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.model import Host
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import guest_ref
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import parse_timeout

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import Connections
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.host import InspectHost


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
