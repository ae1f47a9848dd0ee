# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the arguments that start QEMU with a domain's config state, sparse or not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import (
    PSERIES,
    ConfigLayout,
    machine_family,
    topology_of,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import arguments
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import LEVELS

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Cell, Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import Slot

_KIB_PER_MIB = 1024
# QEMU takes a node's memory on pseries in whole blocks; libvirt rounds up likewise.
_PSERIES_BLOCK_MIB = 256


def qemu_args(domain: Domain, config: ConfigLayout, enabled: Collection[int]) -> tuple[str, ...]:
    """Return the arguments, none where they need a driver that ``config`` does not tell.

    Raises ``HotplugError`` (config_invalid) for vCPUs that QEMU cannot start with.
    """
    present = [_is_enabled(slot, enabled) for slot in config.slots]
    if not present or not present[0]:
        raise HotplugError(CONFIG_INVALID, "vCPU 0 is disabled in config, but a guest boots on it: enable it")
    booted = present.index(False) if False in present else len(present)
    plugged = [slot for slot, there in zip(config.slots[booted:], present[booted:]) if there]
    config.check(enabled)
    if not all(slot.driver for slot in plugged):
        return ()
    threads = sum(len(slot.entity.vcpus) for slot in config.slots[:booted])
    args = ["-smp", smp_argument(domain, threads)]
    if domain.cells:
        args += numa_arguments(domain, {cell.id: _mebibytes(domain, cell) for cell in domain.cells}, config.slots)
    for slot in plugged:
        args += ["-device", arguments.device_argument(slot)]
    return tuple(args)


def smp_argument(domain: Domain, booted: int) -> str:
    """The value of ``-smp`` for a guest that starts with its first ``booted`` vCPUs."""
    return arguments.smp_argument(booted, {**topology_of(domain), "maxcpus": domain.max_vcpus})


def numa_arguments(domain: Domain, mebibytes: Mapping[int, int], slots: Sequence[Slot] = ()) -> list[str]:
    """Return the arguments for a domain's cells, with so much memory each, and what is in them.

    vCPUs go by the props of ``slots``, or where there are no props by their ids.
    """
    by_props = any(slot.props for slot in slots)
    args = ["-m", f"{sum(mebibytes.values())}M"]
    for cell in domain.cells:
        if mebibytes[cell.id]:
            args += ["-object", f"memory-backend-ram,id=ram-node{cell.id},size={mebibytes[cell.id]}M"]
    for cell in domain.cells:
        node = f"node,nodeid={cell.id}"
        if cell.cpus and not by_props:
            node += "".join(f",cpus={ids}" for ids in format_cpulist(cell.cpus).split(","))
        args += ["-numa", f"{node},memdev=ram-node{cell.id}" if mebibytes[cell.id] else node]
    if by_props:
        for place in _places(slots):
            args += ["-numa", f"cpu,{place}"]
    return args


def _places(slots: Iterable[Slot]) -> list[str]:
    """Where everything is: a socket at a time, or its slots one by one where they are in different nodes."""
    sockets: dict[object, list[Slot]] = {}
    for slot in slots:
        sockets.setdefault(slot.props.get("socket-id", ("alone", slot.entity.index)), []).append(slot)
    places = []
    for members in sockets.values():
        together = len(members) > 1 and len({slot.entity.node for slot in members}) == 1
        for slot in members[:1] if together else members:
            keys = ["socket-id"] if together else [f"{level}-id" for level in LEVELS if f"{level}-id" in slot.props]
            places.append(",".join([f"node-id={slot.entity.node}", *(f"{key}={slot.props[key]}" for key in keys)]))
    return places


def _mebibytes(domain: Domain, cell: Cell) -> int:
    block = _KIB_PER_MIB * (_PSERIES_BLOCK_MIB if machine_family(domain) == PSERIES else 1)
    return -(-cell.memory // block) * block // _KIB_PER_MIB


def _is_enabled(slot: Slot, enabled: Collection[int]) -> bool:
    found = [vcpu for vcpu in slot.entity.vcpus if vcpu in enabled]
    if found and len(found) < len(slot.entity.vcpus):
        raise HotplugError(
            CONFIG_INVALID,
            f"vCPUs {format_cpulist(slot.entity.vcpus)} are one core, but only {format_cpulist(found)} are enabled "
            "in config: a core is there as a whole or not at all",
        )
    return bool(found)
