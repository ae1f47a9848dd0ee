# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a domain's <numa>: its cells, their distances, and the speed of their access to each other's memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import (
    LOCAL_DISTANCE,
    Cache,
    Cell,
    Interconnect,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.elements import (
    bytes_of,
    id_list,
    memory_of,
    number,
    only,
    wrong,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import HIGHEST_ID
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

if TYPE_CHECKING:
    from lxml.etree import _Element

_LONGEST_DISTANCE = 255
_MOST_CACHE_LEVELS = 3
_MOST = 2**63 - 1


def cells_of(numa: _Element) -> Iterator[Cell]:
    """Return the cells in their order; raises config_invalid."""
    seen: set[int] = set()
    for index, cell in enumerate(child for child in numa if child.tag == "cell"):
        cell_id = number(cell, cell.get("id", str(index)), "id", 0, HIGHEST_ID)
        if cell_id in seen:
            raise wrong(cell, f"cell {cell_id} occurs a second time: give each <cell> its own id")
        seen.add(cell_id)
        cpus = cell.get("cpus")
        yield Cell(
            cell_id,
            None if cpus is None else id_list(cell, cpus, "cpus"),
            memory_of(cell, cell.get("memory"), "memory"),
            distances=_distances(cell, cell_id),
            caches=tuple(_caches(cell)),
        )


def interconnects_of(numa: _Element) -> Iterator[Interconnect]:
    """Return the latencies and bandwidths in their order; raises config_invalid."""
    interconnects = only(numa, "interconnects")
    for child in () if interconnects is None else interconnects:
        if child.tag not in ("latency", "bandwidth"):
            continue
        yield Interconnect(
            str(child.tag),
            initiator=number(child, child.get("initiator"), "initiator", 0, HIGHEST_ID),
            target=number(child, child.get("target"), "target", 0, HIGHEST_ID),
            cache=number(child, child.get("cache", "0"), "cache", 0, _MOST_CACHE_LEVELS),
            access=_one_of(child, "type", ("access", "read", "write")),
            value=(
                memory_of(child, child.get("value"), "value")
                if child.tag == "bandwidth"
                else number(child, child.get("value"), "value", 1, _MOST)
            ),
        )


def _distances(cell: _Element, cell_id: int) -> dict[int, int]:
    distances = only(cell, "distances")
    found: dict[int, int] = {}
    for sibling in () if distances is None else distances.iterfind("sibling"):
        other = number(sibling, sibling.get("id"), "id", 0, HIGHEST_ID)
        if other in found:
            raise wrong(sibling, f"the distance to cell {other} occurs a second time: keep one")
        nearest, farthest = (
            (LOCAL_DISTANCE, LOCAL_DISTANCE) if other == cell_id else (LOCAL_DISTANCE + 1, _LONGEST_DISTANCE)
        )
        found[other] = number(sibling, sibling.get("value"), "value", nearest, farthest)
    return found


def _caches(cell: _Element) -> Iterator[Cache]:
    for cache in cell.iterfind("cache"):
        size, line = only(cache, "size"), only(cache, "line")
        if size is None or line is None:
            raise wrong(cache, "it has no <size> or no <line>: add it, with a value and a unit")
        yield Cache(
            level=number(cache, cache.get("level"), "level", 1, _MOST_CACHE_LEVELS),
            size=memory_of(size, size.get("value"), "value"),
            line=bytes_of(line, line.get("value"), "value"),
            associativity=_one_of(cache, "associativity", ("none", "direct", "full")),
            policy=_one_of(cache, "policy", ("none", "writeback", "writethrough")),
        )


def _one_of(element: _Element, name: str, values: tuple[str, ...]) -> str:
    value = element.get(name)
    if value not in values:
        raise wrong(element, f"{name} is {printable(value, 40)!r}: write {', '.join(values)}")
    return str(value)
