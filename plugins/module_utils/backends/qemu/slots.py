# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's CPU slots, from query-hotpluggable-cpus and query-cpus-fast, as entities."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import MONITOR_UNREACHABLE, HotplugError, printable
from ansible_collections.kvm.hotplug.plugins.module_utils.model import LEVELS, Entity, Layout

# The exceptions when a malformed reply is read.
_SHAPELESS = (AttributeError, KeyError, OverflowError, TypeError, ValueError)

# QEMU's names for the numbers of the levels.
_PROPS = {level: f"{level}-id" for level in LEVELS}
_PROP_NAMES = tuple(_PROPS.values())

# The device ids that QEMU accepts.
_PERIPHERAL = re.compile(r"/machine/peripheral/([A-Za-z][A-Za-z0-9._-]*)")

# More than any machine has: a peer that reports more is not QEMU.
MOST_VCPUS = 65536


class Slot(NamedTuple):
    """One entity in QEMU: its ``driver`` and ``props`` for a plug, and its QOM path while it is plugged."""

    entity: Entity
    driver: str
    props: Mapping[str, Any]
    qom_path: str | None = None

    @property
    def alias(self) -> str | None:
        """The device id it was plugged with, or None for a boot vCPU or one without an id."""
        match = _PERIPHERAL.fullmatch(self.qom_path or "")
        return match.group(1) if match else None


def read_slots(reply: object) -> tuple[Slot, ...]:
    """Return the slots in the order of their vCPU ids, from the reply to query-hotpluggable-cpus.

    Raises ``HotplugError`` (monitor_unreachable) for a malformed reply.
    """
    try:
        entries = sorted(_list_of_dicts(reply), key=lambda entry: _topology_key(entry["props"]))
        return tuple(_numbered(entries))
    except _SHAPELESS as error:
        raise invalid_reply("query-hotpluggable-cpus", reply) from error


def occupied(reply: object) -> frozenset[str]:
    """Return the QOM paths in the occupied slots, from the same reply; raises the same."""
    try:
        return frozenset(_text(entry["qom-path"]) for entry in _list_of_dicts(reply) if "qom-path" in entry)
    except _SHAPELESS as error:
        raise invalid_reply("query-hotpluggable-cpus", reply) from error


def fixed_slots(cpus_reply: object, max_vcpus: int) -> tuple[Slot, ...]:
    """Return the slots of a machine without CPU hotplug, from query-cpus-fast: the present ones, and empty ones."""
    try:
        cpus = sorted(_list_of_dicts(cpus_reply), key=lambda cpu: cpu["cpu-index"])
        slots = [
            Slot(_entity(number, number, 1, cpu.get("props", {})), "", cpu.get("props", {}), _text(cpu["qom-path"]))
            for number, cpu in enumerate(cpus)
        ]
    except _SHAPELESS as error:
        raise invalid_reply("query-cpus-fast", cpus_reply) from error
    missing = range(len(slots), min(max_vcpus, MOST_VCPUS))
    return (*slots, *(Slot(_entity(number, number, 1, {}), "", {}) for number in missing))


def layout_of(slots: Sequence[Slot], hotplug: bool = True) -> Layout:
    """Return the layout of ``slots``, of a machine with or without CPU ``hotplug``."""
    return Layout(tuple(slot.entity for slot in slots), hotplug)


def thread_ids(slots: Sequence[Slot], cpus_reply: object) -> dict[int, int]:
    """Return the host thread of each enabled vCPU; none if vCPUs share one thread."""
    paths: dict[str, int] = {}
    for slot in slots:
        if slot.qom_path is None:
            continue
        paths[slot.qom_path] = slot.entity.vcpus[0]
        for offset, vcpu in enumerate(slot.entity.vcpus):
            paths[f"{slot.qom_path}/thread[{offset}]"] = vcpu
    try:
        found = [(paths.get(cpu["qom-path"]), int(cpu["thread-id"])) for cpu in _list_of_dicts(cpus_reply)]
    except _SHAPELESS as error:
        raise invalid_reply("query-cpus-fast", cpus_reply) from error
    users = Counter(thread for _vcpu, thread in found)
    return {vcpu: thread for vcpu, thread in found if vcpu is not None and users[thread] == 1}


def invalid_reply(command: str, reply: object) -> HotplugError:
    """The error for a reply that does not match QEMU's documentation."""
    return HotplugError(
        MONITOR_UNREACHABLE,
        f"the peer at the monitor is not a supported QEMU: {command} returned {printable(reply, 80)}",
    )


def _list_of_dicts(reply: object) -> list[dict[str, Any]]:
    if not isinstance(reply, list) or not all(isinstance(entry, dict) for entry in reply):
        raise TypeError
    return reply


def _topology_key(props: Mapping[str, Any]) -> tuple[object, ...]:
    # _entity refuses what is not a number.
    return tuple(props.get(prop, -1) for prop in _PROP_NAMES)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _numbered(entries: Sequence[dict[str, Any]]) -> list[Slot]:
    slots: list[Slot] = []
    first = 0
    for index, entry in enumerate(entries):
        size = _number(entry["vcpus-count"])
        if size < 1 or first + size > MOST_VCPUS:
            raise ValueError
        path = _text(entry["qom-path"]) if "qom-path" in entry else None
        slots.append(Slot(_entity(index, first, size, entry["props"]), _text(entry["type"]), entry["props"], path))
        first += size
    return slots


def _entity(index: int, first: int, size: int, props: Mapping[str, Any]) -> Entity:
    return Entity(
        index=index,
        vcpus=tuple(range(first, first + size)),
        node=_number(props["node-id"]) if "node-id" in props else None,
        position={level: _number(props[prop]) for level, prop in _PROPS.items() if prop in props},
    )
