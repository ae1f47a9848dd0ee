# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's config state as plain values, shared by parsing, layout and arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.model import EMPTY

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.placement import Bandwidth

RFC = "rfc"
LIBVIRT = "libvirt"


LOCAL_DISTANCE = 10


class Cache(NamedTuple):
    """A cache in front of a node's memory: ``size`` in KiB, ``line`` in bytes, everything else in libvirt's format."""

    level: int
    size: int
    line: int
    associativity: str
    policy: str


class Cell(NamedTuple):
    """A guest NUMA node; ``cpus`` is None where the XML leaves them to QEMU, ``memory`` is in KiB.

    ``distances`` are those to other cells that the XML gives, by their ids.
    """

    id: int
    cpus: frozenset[int] | None
    memory: int
    distances: Mapping[int, int] = EMPTY
    caches: tuple[Cache, ...] = ()


class Interconnect(NamedTuple):
    """The speed of a node's access to the memory of another, or to its ``cache`` of a level above 0.

    ``kind`` is latency, with a ``value`` in nanoseconds, or bandwidth, in KiB a second; ``access`` is access, read or
    write.
    """

    kind: str
    initiator: int
    target: int
    cache: int
    access: str
    value: int


class Domain(NamedTuple):
    """A domain's config state.

    ``topology`` has sockets, dies, clusters, cores and threads, or is empty if the XML has none. ``memory`` is the
    memory at boot, ``max_memory`` the maximum with all ``memory_slots`` filled, in KiB and 0 if unknown.
    ``dialect`` is that of its ``<vcpus>`` element, or None without one. ``lines`` are those of the elements a message
    may name: ``vcpu``, ``vcpus``, ``topology``, ``numa``, ``maxMemory``. Everything by vCPU is keyed by its id.
    ``bandwidth`` is that of each vCPU, ``memory_nodes`` are those of ``Tuning``.
    ``kvm`` is whether it runs under KVM.
    ``agent`` is whether the guest's agent has opened its channel, according to the XML of a running domain.
    """

    max_vcpus: int
    enabled: frozenset[int]
    name: str | None = None
    uuid: str | None = None
    arch: str | None = None
    machine: str | None = None
    emulator: str | None = None
    cpu_mode: str | None = None
    cpu_model: str | None = None
    topology: Mapping[str, int] = EMPTY
    cells: tuple[Cell, ...] = ()
    interconnects: tuple[Interconnect, ...] = ()
    memory: int = 0
    memory_slots: int = 0
    max_memory: int = 0
    dialect: str | None = None
    hotpluggable: frozenset[int] = frozenset()
    order: Mapping[int, int] = EMPTY
    pins: Mapping[int, str] = EMPTY
    schedulers: Mapping[int, str] = EMPTY
    bandwidth: Bandwidth | None = None
    memory_nodes: Mapping[int | None, frozenset[int]] = EMPTY
    lines: Mapping[str, int] = EMPTY
    kvm: bool = False
    agent: bool = False


def contiguous(ids: Iterable[int]) -> frozenset[int]:
    """Return 0, 1, 2, ... up to the first gap in ``ids``."""
    there = frozenset(ids)
    length = 0
    while length in there:
        length += 1
    return frozenset(range(length))


def by_default(max_vcpus: int, enabled: frozenset[int]) -> frozenset[int]:
    """Return the hotpluggable vCPUs if the XML has no such attribute: all but the first ones, the boot vCPUs."""
    return frozenset(range(max_vcpus)) - contiguous(enabled)
