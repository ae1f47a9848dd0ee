# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired state of a hypervisor's guests, as the inventory has it: a row for each guest, its options checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    HotplugError,
    printable,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.batch import complete_options
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import guest_ref
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import parse_request

from .guest_layout import UNKNOWN
from .guest_state import plain

Row = dict[str, Any]

# The options that say which guest is meant and how to connect to it, whatever its desired state.
_IDENTIFYING = ("name", "uri", "ask_qemu", "qmp_socket", "agent_socket", "domain_xml", "probe", "emulator", "timeout")

# What a problem is of: a guest that cannot be changed now, options that are invalid, a hypervisor as a whole.
OF_GUEST, OF_OPTIONS, OF_HYPERVISOR = "guest", "options", "hypervisor"


def desired_guests(hostvars: Mapping[str, Any], hypervisor: str) -> list[dict[str, Any]]:
    """Return the options of ``vcpu`` for each guest of a hypervisor that has a desired state.

    These are ``kvm_hotplug_desired_guests`` of the hypervisor. If that is not set, they are the ``kvm_hotplug_options``
    and ``kvm_hotplug_desired`` of each of its ``kvm_hotplug_guests``, as far as these have a ``kvm_hotplug_desired``.
    """
    own = hostvars[hypervisor]
    if "kvm_hotplug_desired_guests" in own:
        guests: list[dict[str, Any]] = plain(own["kvm_hotplug_desired_guests"])
        return guests
    found = []
    for guest in _guests_in_inventory(hostvars, hypervisor):
        if "kvm_hotplug_desired" in hostvars[guest]:
            found.append(plain({**hostvars[guest]["kvm_hotplug_options"], **hostvars[guest]["kvm_hotplug_desired"]}))
    return found


def inventory_guests(hostvars: Mapping[str, Any], hypervisor: str) -> list[dict[str, Any]]:
    """Return the ``kvm_hotplug_options`` of each guest of a hypervisor that the inventory shows."""
    return [plain(hostvars[guest]["kvm_hotplug_options"]) for guest in _guests_in_inventory(hostvars, hypervisor)]


def desired_rows(
    guests: Sequence[Any],
    defaults: Mapping[str, Any],
    hostvars: Mapping[str, Any],
    hypervisor: str,
    known: Sequence[Row] = (),
) -> list[Row]:
    """Return a row for each guest, in order, with the options that a batch of ``vcpu_batch`` takes for it.

    ``key`` identifies the guest on its hypervisor, ``host`` is its name in the inventory or None, and ``guest`` this,
    its name in the rows that are ``known`` from an earlier plan, or what its options name it by. A guest whose options
    are invalid has a ``blocker``, and is not passed to a batch.
    """
    names = {
        key_of(hostvars[guest]["kvm_hotplug_options"]): guest for guest in _guests_in_inventory(hostvars, hypervisor)
    }
    earlier = {row["key"]: row["guest"] for row in known}
    rows: list[Row] = []
    keys: set[str] = set()
    for number, guest in enumerate(guests):
        row = _desired_row(number, plain(guest), plain(defaults), hypervisor)
        if row["key"] in keys:
            row.update(key=f"{row['key']} ({number})", **_invalid(f"{row['key']} is named twice: name each guest once"))
        keys.add(row["key"])
        host = names.get(row["key"])
        rows.append({**row, "host": host, "guest": host or earlier.get(row["key"]) or row["guest"]})
    return rows


def key_of(options: Mapping[str, Any]) -> str:
    """Return what identifies a guest among all guests of a hypervisor."""
    ref = guest_ref(options)
    if ref.name is not None:
        return f"{ref.name} at {ref.uri or 'qemu:///system'}"
    return ref.qmp_socket or ref.agent_socket or ref.domain_xml or "?"


def identifying(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options of ``vcpu`` that say which guest is meant and how to connect to it."""
    return {option: options[option] for option in _IDENTIFYING if options.get(option) is not None}


def unambiguous(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, with the key added to each guest's name that several guests of a hypervisor have."""
    counts = Counter((row["hypervisor"], row["guest"]) for row in rows)
    return [
        {**row, "guest": f"{row['guest']} ({row['key']})"}
        if counts[row["hypervisor"], row["guest"]] > 1 and row["guest"] != row["key"]
        else row
        for row in rows
    ]


def _guests_in_inventory(hostvars: Mapping[str, Any], hypervisor: str) -> list[str]:
    own = hostvars[hypervisor]
    guests = own.get("kvm_hotplug_guests", [])
    return [guest for guest in guests if "kvm_hotplug_options" in hostvars[guest]]


def _desired_row(number: int, guest: Any, defaults: Mapping[str, Any], hypervisor: str) -> Row:
    options = {**defaults, **guest} if isinstance(guest, Mapping) else {}
    label = guest_ref(options).label if options else f"number {number}"
    row = {
        "key": key_of(options) if options else label,
        "guest": label,
        "hypervisor": hypervisor,
        "options": identifying(options),
        "desired": guest,
        "method": options.get("method"),
        "guest_online": options.get("guest_online"),
        "state": "unknown",
        **UNKNOWN,
        "before": None,
        "planned": None,
        "now": "?",
        "then": "?",
        "steps": "",
        "changed": False,
        "blocker": "",
        "blocked_by": "",
        "msg": "",
    }
    if not isinstance(guest, Mapping):
        return {**row, **_invalid(f"the desired state is {printable(guest)}: give a dictionary of options")}
    try:
        parse_request(complete_options(guest, defaults), check_mode=True)
    except HotplugError as error:
        return {**row, **_invalid(error.msg, error.code)}
    return row


def _invalid(msg: str, code: str = CONFLICTING_REQUEST) -> dict[str, str]:
    return {"blocker": code, "blocked_by": OF_OPTIONS, "msg": msg}
