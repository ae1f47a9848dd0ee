# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement: the host CPUs, the scheduler and the bandwidth of a vCPU's thread, requested and observed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist

_EMPTY: Mapping[Any, Any] = MappingProxyType({})


class Bandwidth(NamedTuple):
    """The CPU time that a thread may use, ``quota`` in each ``period``, both in microseconds."""

    quota: int
    period: int

    def __str__(self) -> str:
        return "unlimited" if self == UNLIMITED else f"{self.quota} in {self.period} us"


UNLIMITED = Bandwidth(-1, 0)


class Placement(NamedTuple):
    """Where and how a thread runs; a part that is not requested, or not known, is None.

    ``pin`` are host CPUs as a list of ids, ``scheduler`` is other, batch, idle, fifo:PRIORITY, rr:PRIORITY or deadline.
    """

    pin: str | None = None
    scheduler: str | None = None
    bandwidth: Bandwidth | None = None

    def is_known_in(self, found: Placement) -> bool:
        """Return whether ``found`` has all the parts that this placement requests."""
        return all(is_now is not None for wanted, is_now in zip(self, found) if wanted is not None)


NOWHERE = Placement()


class Tuning(NamedTuple):
    """What a domain's XML requests: the placement of each vCPU, by id, and the host nodes of the guest's memory.

    ``memory_nodes`` are keyed by guest node; None is the key for all nodes that are not named.
    """

    placements: Mapping[int, Placement] = _EMPTY
    memory_nodes: Mapping[int | None, frozenset[int]] = _EMPTY

    def memory_of(self, node: int | None) -> frozenset[int] | None:
        """Return the host nodes of a guest node's memory, None if they are unknown."""
        return self.memory_nodes.get(node, self.memory_nodes.get(None))


def combined(requested: Placement, found: Placement) -> Placement:
    """Return a thread's placement after it was placed: the parts that are not requested stay."""
    return Placement._make(is_now if wanted is None else wanted for wanted, is_now in zip(requested, found))


def differences(requested: Placement, found: Placement, host_cpus: frozenset[int] | None = None) -> tuple[str, ...]:
    """Return how a thread's placement differs from the requested one, a text for each part; unknown parts are equal.

    Of a pin only the ``host_cpus`` that are online count, all if they are unknown.
    """
    requested = on_host(requested, host_cpus)
    return tuple(
        f"its {name} is {is_now}, not {wanted}"
        for name, wanted, is_now in zip(Placement._fields, requested, found)
        if wanted is not None and is_now is not None and wanted != is_now
    )


def on_host(requested: Placement, host_cpus: frozenset[int] | None) -> Placement:
    """Return the placement with the pin that the online CPUs of the host allow; a pin without any of them stays."""
    if requested.pin is None or host_cpus is None:
        return requested
    return requested._replace(pin=format_cpulist(parse_cpulist(requested.pin) & host_cpus) or requested.pin)
