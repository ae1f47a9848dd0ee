# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of ``vcpu_info`` that name the destination of a migration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import names_one
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import DESTINATION_OPTIONS

# Options of the guest that do not apply to its destination.
_OF_SOURCE: Mapping[str, Any] = {
    "name": None,
    "qmp_socket": None,
    "agent_socket": None,
    "domain_xml": None,
    "ask_qemu": False,
}


def has_destination(params: Mapping[str, Any]) -> bool:
    """Return whether the options name a destination; raises ``HotplugError`` if there are too many guests for it."""
    given = [option for option in DESTINATION_OPTIONS if params.get(option) is not None]
    if given and given != ["destination_uri"] and not names_one(params):
        raise HotplugError(
            CONFLICTING_REQUEST, f"{given[0]} is the destination of one guest: name the guest with name or qmp_socket"
        )
    return bool(given)


def destination_options(params: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Return the options that name the destination of a guest; ``name`` is its UUID or name, None if unknown.

    Raises ``HotplugError`` (conflicting_request) for a guest without a name at ``destination_uri``.
    """
    if params["destination_qmp_socket"] is not None:
        probe = {"probe": "auto", "emulator": None}
        return {**params, **_OF_SOURCE, **probe, "qmp_socket": params["destination_qmp_socket"]}
    if params["destination_domain_xml"] is not None:
        return {**params, **_OF_SOURCE, "domain_xml": params["destination_domain_xml"]}
    if name is None:
        raise HotplugError(
            CONFLICTING_REQUEST,
            "the guest has neither a UUID nor a name to find it by at destination_uri: start it with one",
        )
    return {**params, **_OF_SOURCE, "uri": params["destination_uri"], "name": name}
