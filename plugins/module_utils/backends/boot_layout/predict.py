# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive the CPU slots of a domain's next boot from its XML, without a QEMU."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.machine_validation import (
    at,
    check_machine,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.nodes import nodes_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import (
    MOST_VCPUS,
    Slot,
    layout_of,
    read_slots,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, Layout

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain

X86 = "x86"
PSERIES = "pseries"
S390X = "s390x"
# Machines without CPU hotplug: the next boot has vCPUs 0 to n-1.
FIXED = "fixed"

_ARCHITECTURES = {"x86_64": X86, "i686": X86, "ppc64": PSERIES, "ppc64le": PSERIES, "s390x": S390X}
_ARCHITECTURES_WITHOUT_HOTPLUG = ("aarch64", "armv7l", "armv6l", "arm", "riscv32", "riscv64")
_MACHINES = {
    X86: re.compile(r"pc|q35|pc-(?:q35|i440fx)-.+"),
    PSERIES: re.compile(r"pseries(?:-.+)?"),
    S390X: re.compile(r"s390-ccw-virtio(?:-.+)?"),
    FIXED: re.compile(r"microvm|isapc"),
}
# QEMU starts these only with all of their vCPUs.
_MACHINES_WITHOUT_HOTPLUG = re.compile(r"pseries-2\.[1-6]")
_LEVELS = ("sockets", "dies", "clusters", "cores", "threads")
# QEMU refuses more than one of any other level.
_LEVELS_OF = {
    X86: ("sockets", "dies", "cores", "threads"),
    PSERIES: ("sockets", "cores", "threads"),
    S390X: ("sockets", "cores"),
}

# Of a binary whose name is not that of the guest's architecture: i686 on that for x86_64, or on Debian's or Red Hat's.
_X86_BINARY = re.compile(r"qemu-system-(i386|x86_64)(?:-.*)?|(?:qemu-)?kvm")
_DEFAULT_X86_MODELS = {"i386": "qemu32", "x86_64": "qemu64"}

# Characters that QEMU does not interpret within an argument.
PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.+-]+")
# Names of pseries models that are not aliases. The meaning of an alias depends on QEMU's version and on the KVM host.
_POWER_MODEL = re.compile(r"[a-z0-9+]+_v[0-9.]+")


class ConfigLayout(NamedTuple):
    """The slots of the machine that boots next, all of them empty.

    A slot's ``driver`` is empty if only QEMU knows it. Without ``hotplug``, slots have neither driver nor props, and
    the guest can only have vCPUs 0 to n-1, or all of them if it ``needs_all``.
    """

    slots: tuple[Slot, ...]
    hotplug: bool = True
    needs_all: bool = False

    @property
    def layout(self) -> Layout:
        """The layout for the planner."""
        return layout_of(self.slots, self.hotplug)

    def check(self, enabled: Collection[int]) -> None:
        """Refuse (config_invalid) vCPUs with which a machine without CPU hotplug does not start."""
        if self.hotplug:
            return
        present = frozenset(enabled)
        missing = frozenset(vcpu for slot in self.slots for vcpu in slot.entity.vcpus) - present
        if missing and self.needs_all:
            raise HotplugError(
                CONFIG_INVALID,
                f"vCPU {format_cpulist(missing)} would be disabled, but this machine has no CPU hotplug, and QEMU "
                "starts it only with all of its vCPUs: lower the maximum, or use a newer machine type",
            )
        scattered = [vcpu for vcpu in present if missing and vcpu > min(missing)]
        if scattered:
            raise HotplugError(
                CONFIG_INVALID,
                f"vCPU {format_cpulist(scattered)} would be enabled and a lower one disabled, but this machine has no "
                "CPU hotplug: it can only start with vCPUs 0 to n-1; request a count",
            )


def layout_of_domain(domain: Domain) -> ConfigLayout | None:
    """Return the layout, or None for a machine whose slots only QEMU knows.

    Raises ``HotplugError`` (config_invalid) for a topology or nodes with which QEMU would not start.
    """
    check_machine(domain)
    family = machine_family(domain)
    if family is None:
        return None
    if domain.max_vcpus > MOST_VCPUS:
        raise _invalid(domain, "vcpu", f"no machine has {domain.max_vcpus} vCPUs")
    if family == FIXED or _MACHINES_WITHOUT_HOTPLUG.fullmatch(domain.machine or ""):
        return fixed_layout(domain)
    topology = topology_of(domain)
    nodes = nodes_of(domain)
    _check_levels(domain, family, topology)
    _check_nodes(domain, family, topology["threads"], nodes)
    cells = tuple(sorted(cell.id for cell in domain.cells))
    machine = _Machine(
        family,
        driver_of(domain),
        domain.max_vcpus,
        tuple(topology[level] for level in _LEVELS),
        tuple(nodes[vcpu] for vcpu in range(domain.max_vcpus)) if nodes else (),
        cells,
        domain.memory_slots > 0,
    )
    return ConfigLayout(_slots_of(machine))


def fixed_layout(domain: Domain) -> ConfigLayout:
    """Return the layout of a machine without CPU hotplug."""
    nodes = nodes_of(domain)
    alone = 0 if domain.memory_slots and not domain.cells else None
    slots = (Slot(Entity(vcpu, (vcpu,), nodes.get(vcpu, alone)), "", {}) for vcpu in range(domain.max_vcpus))
    needs_all = _MACHINES_WITHOUT_HOTPLUG.fullmatch(domain.machine or "") is not None
    return ConfigLayout(tuple(slots), hotplug=False, needs_all=needs_all)


def machine_family(domain: Domain) -> str | None:
    """``X86``, ``PSERIES``, ``S390X``, ``FIXED``, or None for an unknown machine."""
    if domain.arch in _ARCHITECTURES_WITHOUT_HOTPLUG:
        return FIXED
    if domain.machine is None:
        return _ARCHITECTURES.get(domain.arch or "")
    named = next((family for family, names in _MACHINES.items() if names.fullmatch(domain.machine)), None)
    expected = X86 if named == FIXED else named
    return named if domain.arch is None or _ARCHITECTURES.get(domain.arch) == expected else None


def topology_of(domain: Domain) -> dict[str, int]:
    """Return the number of each level; one socket per vCPU if the XML has no topology, as libvirt starts QEMU."""
    if not domain.topology:
        return {**dict.fromkeys(_LEVELS, 1), "sockets": domain.max_vcpus}
    return {level: domain.topology.get(level, 1) for level in _LEVELS}


def driver_of(domain: Domain) -> str:
    """Return QEMU's type of the domain's vCPUs, or nothing if the XML leaves it to QEMU or to the host."""
    family = machine_family(domain)
    passed_through = domain.cpu_mode == "host-passthrough"
    # libvirt replaces host-model with a named model, depending on the host.
    model = None if domain.cpu_mode == "host-model" else domain.cpu_model
    if model is not None and not PLAIN_VALUE.fullmatch(model):
        return ""
    if passed_through:
        model = "host"
    elif domain.cpu_mode == "maximum":
        model = "max"
    if family == X86:
        target = _x86_target(domain)
        if model is None and domain.cpu_mode is None:
            model = _DEFAULT_X86_MODELS[target]
        return f"{model}-{target}-cpu" if model else ""
    if family == S390X:
        return f"{model}-s390x-cpu" if model else ""
    if family == PSERIES and model and (passed_through or _POWER_MODEL.fullmatch(model)):
        return f"{model}-spapr-cpu-core"
    return ""


def _x86_target(domain: Domain) -> str:
    """Return the architecture in the names of the binary's drivers; by default that of the guest."""
    binary = _X86_BINARY.fullmatch((domain.emulator or "").rpartition("/")[2])
    if binary is None:
        return "i386" if domain.arch == "i686" else "x86_64"
    return binary.group(1) or "x86_64"


class _Machine(NamedTuple):
    """What the slots of a machine depend on.

    ``levels`` are the numbers of ``_LEVELS``, ``nodes`` those of the vCPUs by id, none if no cell lists vCPUs.
    """

    family: str
    driver: str
    max_vcpus: int
    levels: tuple[int, ...]
    nodes: tuple[int, ...]
    cells: tuple[int, ...]
    has_memory_slots: bool

    @property
    def topology(self) -> dict[str, int]:
        """The number of each level."""
        return dict(zip(_LEVELS, self.levels))

    def node(self, vcpu: int, socket: int) -> dict[str, int]:
        """Return the prop with the node of a vCPU; QEMU distributes sockets over the nodes if no cell lists vCPUs."""
        if not self.cells:
            # Hotpluggable memory needs a node.
            return {"node-id": 0} if self.has_memory_slots else {}
        return {"node-id": self.nodes[vcpu] if self.nodes else self.cells[socket % len(self.cells)]}


# The guests of a batch are often alike, and each of them has the layout of the running machine and of the next boot.
@functools.lru_cache(maxsize=32)
def _slots_of(machine: _Machine) -> tuple[Slot, ...]:
    return read_slots([{"type": machine.driver, "vcpus-count": 1, **slot} for slot in _DERIVE[machine.family](machine)])


def _x86(machine: _Machine) -> list[dict[str, Any]]:
    topology = machine.topology
    levels = ["sockets", *(["dies"] if topology["dies"] > 1 else []), "cores", "threads"]
    slots = []
    for vcpu, numbers in enumerate(itertools.product(*(range(topology[level]) for level in levels))):
        props = {f"{level[:-1]}-id": number for level, number in zip(levels, numbers)}
        slots.append({"props": {**props, **machine.node(vcpu, numbers[0])}})
    return slots


def _pseries(machine: _Machine) -> list[dict[str, Any]]:
    topology = machine.topology
    threads = topology["threads"]
    slots = []
    for core, first in enumerate(range(0, machine.max_vcpus, threads)):
        # pseries machines always have a node.
        node = machine.node(first, core // topology["cores"]) or {"node-id": 0}
        slots.append({"props": {"core-id": first, **node}, "vcpus-count": threads})
    return slots


def _s390x(machine: _Machine) -> list[dict[str, Any]]:
    # QEMU >= 8.2 also shows drawer, book and socket, but like earlier versions it needs only the core to plug.
    return [{"props": {"core-id": core}} for core in range(machine.max_vcpus)]


_DERIVE = {X86: _x86, PSERIES: _pseries, S390X: _s390x}


def _check_nodes(domain: Domain, family: str, threads: int, nodes: Mapping[int, int]) -> None:
    if family == S390X and domain.cells:
        raise _invalid(domain, "numa", "s390x machines have no NUMA nodes")
    if family != PSERIES:
        return
    for first in range(0, domain.max_vcpus, threads):
        siblings = range(first, first + threads)
        if len({nodes.get(vcpu) for vcpu in siblings}) > 1:
            raise _invalid(
                domain, "numa", f"vCPUs {format_cpulist(siblings)} are one core, but they are in different cells"
            )


def _check_levels(domain: Domain, family: str, topology: Mapping[str, int]) -> None:
    for level, number in topology.items():
        if number > 1 and level not in _LEVELS_OF[family]:
            raise _invalid(domain, "topology", f"this machine has no {level}, but the topology has {number}")
    threads = topology["threads"]
    if family == PSERIES and threads & (threads - 1):
        raise _invalid(domain, "topology", f"a core of this machine has 1, 2, 4 or 8 threads, not {threads}")


def _invalid(domain: Domain, element: str, why: str) -> HotplugError:
    return HotplugError(CONFIG_INVALID, f"{at(domain, element)}{why}")
