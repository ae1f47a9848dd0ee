# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a domain's XML says of its vCPUs, in plain values: the words that reading, layout and arguments share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.model import EMPTY

RFC = "rfc"
LIBVIRT = "libvirt"


class Cell(NamedTuple):
    """A guest NUMA node; ``cpus`` is None where the XML leaves them to QEMU, ``memory`` is in KiB."""

    id: int
    cpus: frozenset[int] | None
    memory: int


class Domain(NamedTuple):
    """A domain's config state.

    ``topology`` has sockets, dies, clusters, cores and threads, or is empty where the XML has none.
    ``dialect`` is that of its ``<vcpus>`` element, or None without one. ``lines`` are those of the elements a
    message may name: ``vcpu``, ``vcpus``, ``topology``, ``numa``. Everything by vCPU is keyed by its id. ``agent``
    is whether the guest's agent has its channel open, which the XML of a running domain tells.
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
    memory: int = 0
    dialect: str | None = None
    hotpluggable: frozenset[int] = frozenset()
    order: Mapping[int, int] = EMPTY
    pins: Mapping[int, str] = EMPTY
    schedulers: Mapping[int, str] = EMPTY
    lines: Mapping[str, int] = EMPTY
    agent: bool = False
