# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain with another maximum number of vCPUs: its topology, cells and vCPUs. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from math import prod
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import (
    LIBVIRT,
    Cell,
    Domain,
    by_default,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.nodes import nodes_of
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import HIGHEST_ID, format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFIG_INVALID,
    CONFLICTING_REQUEST,
    COUNT_UNREACHABLE,
    UNKNOWN_NODE,
    HotplugError,
    printable,
)

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Maximum

# QEMU's own limits, by machine type: a type without a version is the newest. Of a type that is not here, only QEMU
# knows the limit.
_LIMITS = (
    (re.compile(r"isapc"), 1),
    (re.compile(r"pc|pc-i440fx-.+|pc-q35-2\.[4-7]"), 255),
    (re.compile(r"microvm|pc-q35-(?:[2-7]\.[0-9.]+|8\.0)"), 288),
    (re.compile(r"pc-q35-8\.[12]"), 1024),
    (re.compile(r"q35|pc-q35-.+|pseries(?:-.+)?"), 4096),
)


def with_maximum(domain: Domain, maximum: Maximum) -> Domain:
    """Return ``domain`` with another number of possible vCPUs, as it is written; those that remain keep their place.

    With a topology, whole sockets are added at its end or removed from it. New vCPUs are disabled, and belong to the
    cells with the fewest vCPUs, or to the node of ``maximum``. vCPUs above the maximum are removed, enabled or not.

    Raises ``HotplugError``: count_unreachable for a number that the machine cannot have, unknown_node and
    conflicting_request for a node that new vCPUs cannot belong to, config_invalid for an incomplete domain.
    """
    number = maximum.vcpus
    if number == domain.max_vcpus:
        return domain
    if "vcpu" not in domain.lines:
        raise HotplugError(CONFIG_INVALID, "the domain XML has no <vcpu> with the maximum: add <vcpu>1</vcpu>")
    topology = _topology(domain, number)
    _check_machine(domain, number)
    kept = frozenset(range(min(number, domain.max_vcpus)))
    if not domain.enabled & kept:
        raise HotplugError(CONFIG_INVALID, f"with {number} vCPUs at most none would be enabled: enable vCPU 0 first")
    order = {vcpu: place for vcpu, place in domain.order.items() if vcpu in kept}
    resized = domain._replace(
        max_vcpus=number,
        enabled=domain.enabled & kept,
        topology=topology,
        order=order if max(order.values(), default=0) <= number else _closed_up(order),
        pins={vcpu: cpus for vcpu, cpus in domain.pins.items() if vcpu in kept},
        schedulers={vcpu: scheduler for vcpu, scheduler in domain.schedulers.items() if vcpu in kept},
    )
    hotpluggable = (domain.hotpluggable & kept) | (frozenset(range(number)) - kept)
    if domain.dialect != LIBVIRT:
        hotpluggable = by_default(number, resized.enabled)
    return resized._replace(cells=_cells(domain, maximum), hotpluggable=hotpluggable)


def _topology(domain: Domain, number: int) -> dict[str, int]:
    if not domain.topology:
        if number > HIGHEST_ID + 1:
            raise _unreachable(number, f"no guest has more than {HIGHEST_ID + 1}", [HIGHEST_ID + 1])
        return {}
    size = _socket_size(domain)
    if domain.max_vcpus != size * domain.topology["sockets"]:
        # It is for the check of the machine to refuse.
        return dict(domain.topology)
    if number % size:
        below = number // size * size
        raise _unreachable(number, f"each socket of its <topology> has {size}", [below, below + size])
    return {**domain.topology, "sockets": number // size}


def _socket_size(domain: Domain) -> int:
    return prod(number for level, number in domain.topology.items() if level != "sockets")


def _check_machine(domain: Domain, number: int) -> None:
    """Refuse more vCPUs than a machine of this type can have, whatever QEMU starts it."""
    machine = domain.machine or ""
    limit = next((limit for names, limit in _LIMITS if names.fullmatch(machine)), None)
    if limit is not None and domain.max_vcpus < number and number > limit:
        size = _socket_size(domain) if domain.topology else 1
        raise _unreachable(number, f"a {printable(machine, 60)} machine has at most {limit}", [limit // size * size])


def _unreachable(number: int, why: str, possible: Collection[int]) -> HotplugError:
    values = " or ".join(str(value) for value in possible if value)
    return HotplugError(COUNT_UNREACHABLE, f"the next boot cannot have {number} vCPUs at most: {why}; set {values}")


def _closed_up(order: dict[int, int]) -> dict[int, int]:
    """The same order in the lowest numbers; vCPUs with equal numbers keep them."""
    ranks = {place: rank for rank, place in enumerate(sorted(set(order.values())), 1)}
    return {vcpu: ranks[place] for vcpu, place in order.items()}


def _cells(domain: Domain, maximum: Maximum) -> tuple[Cell, ...]:
    if maximum.node is not None:
        _check_node(domain, maximum.node)
    new = range(domain.max_vcpus, maximum.vcpus)
    nodes = nodes_of(domain)
    if not nodes:
        # QEMU distributes the sockets over the nodes.
        return domain.cells
    added = {maximum.node: new} if maximum.node is not None else _distributed(domain, nodes, new)
    cells = []
    for cell in domain.cells:
        listed = frozenset(vcpu for vcpu in cell.cpus or () if vcpu < maximum.vcpus).union(added.get(cell.id, ()))
        # A cell whose vCPUs are all removed remains as one with memory only.
        cells.append(cell._replace(cpus=listed or None))
    return tuple(cells)


def _check_node(domain: Domain, node: int) -> None:
    cells = [cell.id for cell in domain.cells]
    if node not in cells:
        has = f"its nodes are {format_cpulist(cells)}" if cells else "it has no NUMA nodes"
        raise HotplugError(UNKNOWN_NODE, f"maximum_node is {node}, but the next boot has no such node: {has}")
    if all(cell.cpus is None for cell in domain.cells):
        raise HotplugError(
            CONFLICTING_REQUEST,
            "maximum_node cannot be used, because no <cell> lists its vCPUs, so QEMU distributes them over the nodes: "
            "add cpus to each <cell>, or omit maximum_node",
        )


def _distributed(domain: Domain, nodes: dict[int, int], new: range) -> dict[int, range]:
    """Return the new vCPUs of each cell with vCPUs: adjacent ids, so that all cells have as equal a number as possible.

    Sockets, or else cores, that belong to one cell each are not divided.
    """
    filled = dict.fromkeys(sorted(set(nodes.values())), 0)
    for node in nodes.values():
        filled[node] += 1
    gained = dict.fromkeys(filled, 0)
    size = _undivided(domain, nodes)
    for _unit in range(0, len(new), size):
        node = min(filled, key=lambda node: (filled[node], node))
        filled[node] += size
        gained[node] += size
    found = {}
    first = new.start
    for node, number in gained.items():
        found[node] = range(first, first + number)
        first += number
    return found


def _undivided(domain: Domain, nodes: dict[int, int]) -> int:
    """The number of adjacent vCPUs that always belong to one cell."""
    if not domain.topology:
        return 1
    for size in (_socket_size(domain), domain.topology["threads"]):
        groups = (range(first, first + size) for first in range(0, domain.max_vcpus, size))
        if all(len({nodes.get(vcpu) for vcpu in group}) == 1 for group in groups):
            return size
    return 1
