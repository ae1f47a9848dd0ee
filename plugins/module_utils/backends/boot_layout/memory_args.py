# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's arguments for a domain's memory: its nodes, their vCPUs and distances, and slots for more memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import PSERIES, machine_family
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import LOCAL_DISTANCE
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.model import EMPTY, LEVELS

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import Slot

_KIB_PER_MIB = 1024
# On pseries, QEMU accepts a node's memory only in whole blocks; libvirt rounds up in the same way.
_PSERIES_BLOCK_MIB = 256

_REMOTE_DISTANCE = 20
_HIERARCHIES = ("memory", "first-level", "second-level", "third-level")
# Values for which QEMU and libvirt have different names.
_QEMU_VALUES = {"full": "complex", "writeback": "write-back", "writethrough": "write-through"}


def memory_arguments(domain: Domain, slots: Sequence[Slot]) -> list[str]:
    """Return the arguments for a domain's nodes and memory, none if it has neither nodes nor memory slots."""
    if not domain.cells:
        memory = _mebibytes(domain, domain.memory)
        return ["-m", f"{memory}M{_room(domain)}"] if memory and domain.memory_slots else []
    hmat = bool(domain.interconnects or any(cell.caches for cell in domain.cells))
    mebibytes = {cell.id: _mebibytes(domain, cell.memory) for cell in domain.cells}
    args = numa_arguments(domain, mebibytes, slots, _initiators(domain, slots) if hmat else {})
    args[1] += _room(domain)
    args += _distances(domain)
    return [*args, "-machine", "hmat=on", *_hmat(domain)] if hmat else args


def numa_arguments(
    domain: Domain,
    mebibytes: Mapping[int, int],
    slots: Sequence[Slot] = (),
    initiators: Mapping[int, int] = EMPTY,
) -> list[str]:
    """Return the arguments for a domain's cells, their memory and vCPUs; ``-m`` is the first.

    vCPUs are identified by the props of ``slots``, or by their ids if there are no props. ``initiators`` are the nodes
    whose vCPUs have the best access to a node's memory.
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
        if cell.id in initiators:
            node += f",initiator={initiators[cell.id]}"
        args += ["-numa", f"{node},memdev=ram-node{cell.id}" if mebibytes[cell.id] else node]
    if by_props:
        for place in _places(slots):
            args += ["-numa", f"cpu,{place}"]
    return args


def _places(slots: Iterable[Slot]) -> list[str]:
    """The node of each socket, or of each slot if the slots of a socket are in different nodes."""
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


def _mebibytes(domain: Domain, kibibytes: int) -> int:
    block = _KIB_PER_MIB * (_PSERIES_BLOCK_MIB if machine_family(domain) == PSERIES else 1)
    return -(-kibibytes // block) * block // _KIB_PER_MIB


def _room(domain: Domain) -> str:
    """The part of ``-m`` for hotpluggable memory."""
    if not domain.memory_slots:
        return ""
    return f",slots={domain.memory_slots},maxmem={_mebibytes(domain, domain.max_memory)}M"


def _distances(domain: Domain) -> Iterator[str]:
    """All distances, if the XML has any. Both directions are equal unless the XML has both."""
    if not any(cell.distances for cell in domain.cells):
        return
    for source in domain.cells:
        for target in domain.cells:
            usual = LOCAL_DISTANCE if source is target else _REMOTE_DISTANCE
            distance = source.distances.get(target.id, target.distances.get(source.id, usual))
            yield from ("-numa", f"dist,src={source.id},dst={target.id},val={distance}")


def _initiators(domain: Domain, slots: Sequence[Slot]) -> dict[int, int]:
    """Return the initiator of each node: itself if it has vCPUs, else the node with the fastest access."""
    with_vcpus = sorted({slot.entity.node for slot in slots if slot.entity.node is not None}) or [0]
    found = {}
    for cell in domain.cells:
        links = [link for link in domain.interconnects if link.target == cell.id and not link.cache]
        latencies = [(link.value, link.initiator) for link in links if link.kind == "latency"]
        bandwidths = [(-link.value, link.initiator) for link in links if link.kind == "bandwidth"]
        fastest = min(latencies or bandwidths or [(0, with_vcpus[0])])[1]
        found[cell.id] = cell.id if cell.id in with_vcpus else fastest
    return found


def _hmat(domain: Domain) -> Iterator[str]:
    """The table of latencies, bandwidths and caches; QEMU requires a node's caches last, and by level."""
    for link in domain.interconnects:
        place = f"initiator={link.initiator},target={link.target},hierarchy={_HIERARCHIES[link.cache]}"
        value = f"{link.value}K" if link.kind == "bandwidth" else link.value
        yield from ("-numa", f"hmat-lb,{place},data-type={link.access}-{link.kind},{link.kind}={value}")
    for cell in domain.cells:
        for cache in sorted(cell.caches):
            kind = f"associativity={_QEMU_VALUES.get(cache.associativity, cache.associativity)}"
            policy = f"policy={_QEMU_VALUES.get(cache.policy, cache.policy)}"
            size = f"size={cache.size}K,level={cache.level}"
            yield from ("-numa", f"hmat-cache,node-id={cell.id},{size},{kind},{policy},line={cache.line}")
