# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The slots derived for a domain; tests/real compares them with QEMU."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import (
    ConfigLayout,
    driver_of,
    layout_of_domain,
    topology_of,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Cell, Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError

MEMORY = 1024


def domain(max_vcpus: int = 4, arch: str | None = "x86_64", machine: str | None = "q35", **rest: Any) -> Domain:
    return Domain(max_vcpus=max_vcpus, enabled=frozenset([0]), arch=arch, machine=machine, **rest)


def derived(of: Domain) -> ConfigLayout:
    layout = layout_of_domain(of)
    assert layout is not None
    return layout


def props(of: Domain) -> list[dict[str, int]]:
    return [dict(slot.props) for slot in derived(of).slots]


def nodes(of: Domain) -> list[int | None]:
    return [slot.entity.node for slot in derived(of).slots]


def cells(*cpus: set[int] | None) -> tuple[Cell, ...]:
    return tuple(Cell(node, None if ids is None else frozenset(ids), MEMORY) for node, ids in enumerate(cpus))


def complaint(of: Domain) -> str:
    with pytest.raises(HotplugError) as caught:
        layout_of_domain(of)
    assert caught.value.code == CONFIG_INVALID
    return caught.value.msg


def test_without_a_topology_every_vcpu_is_a_socket() -> None:
    assert props(domain(2)) == [
        {"socket-id": 0, "core-id": 0, "thread-id": 0},
        {"socket-id": 1, "core-id": 0, "thread-id": 0},
    ]


def test_alike_machines_share_their_slots_whatever_else_differs() -> None:
    one, other = domain(4, name="one"), domain(4, name="other", memory=MEMORY)
    assert derived(one).slots is derived(other).slots
    differ = (domain(5), domain(4, arch="s390x", machine="s390-ccw-virtio"), domain(4, cpu_model="Haswell"))
    differ += (domain(4, cells=cells({0}, {1, 2, 3})), domain(4, memory_slots=2, max_memory=2 * MEMORY))
    assert all(derived(different).slots != derived(one).slots for different in differ)


def test_dies_are_shown_where_there_are_several() -> None:
    shape = {"sockets": 1, "dies": 2, "clusters": 1, "cores": 1, "threads": 1}
    assert [slot["die-id"] for slot in props(domain(2, topology=shape))] == [0, 1]


def test_a_pseries_core_is_one_entity() -> None:
    of = domain(8, "ppc64le", "pseries-9.2", topology={"sockets": 2, "cores": 1, "threads": 4})
    assert props(of) == [{"core-id": 0, "node-id": 0}, {"core-id": 4, "node-id": 0}]
    assert [entity.vcpus for entity in derived(of).layout.entities] == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_s390x_plugs_by_the_core_alone() -> None:
    assert props(domain(2, "s390x", "s390-ccw-virtio-8.2")) == [{"core-id": 0}, {"core-id": 1}]


def test_vcpus_are_in_the_cell_that_lists_them_or_else_in_node_0() -> None:
    assert nodes(domain(5, cells=cells({4}, None, {1, 2}))) == [0, 2, 2, 0, 0]
    assert nodes(domain(3, cells=cells(None, {0}))) == [1, 0, 0]


def test_sockets_are_distributed_if_no_cell_lists_vcpus() -> None:
    shape = {"sockets": 3, "cores": 2, "threads": 1}
    assert nodes(domain(6, topology=shape, cells=cells(None, None))) == [0, 0, 1, 1, 0, 0]
    assert nodes(domain(6, "ppc64", "pseries", topology=shape, cells=cells(None, None))) == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("arch", "machine"),
    [("x86_64", "microvm"), ("x86_64", "isapc"), ("aarch64", "virt-9.2"), ("riscv64", "virt"), ("aarch64", None)],
)
def test_a_machine_without_hotplug_is_marked(arch: str, machine: str | None) -> None:
    layout = derived(domain(3, arch, machine, cells=cells({0, 1}, {2})))
    assert layout.hotplug is False
    assert nodes(domain(3, arch, machine, cells=cells({0, 1}, {2}))) == [0, 0, 1]
    assert {slot.driver for slot in layout.slots} == {""}


@pytest.mark.parametrize(
    ("arch", "machine"),
    [
        ("loongarch64", "virt"),
        ("x86_64", "xenpv"),
        ("ppc64", "powernv9"),
        ("ppc64", "q35"),
        (None, None),
        ("sparc", None),
    ],
)
def test_nothing_is_derived_for_an_unknown_machine(arch: str | None, machine: str | None) -> None:
    assert layout_of_domain(domain(3, arch, machine)) is None


@pytest.mark.parametrize("machine", ["pc", "q35", "pc-q35-rhel9.4.0", "pc-i440fx-jammy", "pc-i440fx-2.7", None])
def test_every_name_of_pc_and_q35_is_known(machine: str | None) -> None:
    assert derived(domain(3, machine=machine)).hotplug


@pytest.mark.parametrize(
    ("arch", "machine", "mode", "model", "driver"),
    [
        ("x86_64", "q35", "custom", "EPYC-v2", "EPYC-v2-x86_64-cpu"),
        ("x86_64", "q35", None, "EPYC", "EPYC-x86_64-cpu"),
        ("x86_64", "q35", None, None, "qemu64-x86_64-cpu"),
        ("i686", "pc", None, None, "qemu32-i386-cpu"),
        ("i686", "pc", "custom", "pentium3", "pentium3-i386-cpu"),
        ("x86_64", "q35", "host-passthrough", None, "host-x86_64-cpu"),
        ("x86_64", "q35", "maximum", None, "max-x86_64-cpu"),
        ("x86_64", "q35", "host-model", "Skylake", ""),
        ("x86_64", "q35", "custom", "EPYC,id=x", ""),
        ("x86_64", "microvm", "custom", "EPYC", ""),
        ("ppc64", "pseries", "custom", "POWER9", ""),
        ("ppc64", "pseries", "custom", "power9_v2.2", "power9_v2.2-spapr-cpu-core"),
        ("ppc64", "pseries", "host-passthrough", None, "host-spapr-cpu-core"),
        ("ppc64", "pseries", "maximum", None, ""),
        ("ppc64", "pseries", None, None, ""),
        ("s390x", "s390-ccw-virtio", "custom", "z14-base", "z14-base-s390x-cpu"),
        ("s390x", "s390-ccw-virtio", "host-passthrough", None, "host-s390x-cpu"),
        ("s390x", "s390-ccw-virtio", None, None, ""),
    ],
)
def test_the_driver_is_named_if_the_xml_determines_it(
    arch: str, machine: str, mode: str | None, model: str | None, driver: str
) -> None:
    assert driver_of(domain(2, arch, machine, cpu_mode=mode, cpu_model=model)) == driver


@pytest.mark.parametrize(
    ("arch", "emulator", "default", "pentium"),
    [
        ("i686", "/usr/bin/qemu-system-x86_64", "qemu64-x86_64-cpu", "pentium3-x86_64-cpu"),
        ("i686", "/usr/bin/qemu-system-i386", "qemu32-i386-cpu", "pentium3-i386-cpu"),
        ("i686", "/usr/bin/kvm", "qemu64-x86_64-cpu", "pentium3-x86_64-cpu"),
        ("i686", "/usr/libexec/qemu-kvm", "qemu64-x86_64-cpu", "pentium3-x86_64-cpu"),
        ("i686", "qemu-system-x86_64-secluded", "qemu64-x86_64-cpu", "pentium3-x86_64-cpu"),
        ("i686", "/opt/wrapper", "qemu32-i386-cpu", "pentium3-i386-cpu"),
        ("x86_64", "/opt/wrapper", "qemu64-x86_64-cpu", "pentium3-x86_64-cpu"),
        ("x86_64", None, "qemu64-x86_64-cpu", "pentium3-x86_64-cpu"),
    ],
)
def test_drivers_are_named_after_the_architecture_of_the_binary(
    arch: str, emulator: str | None, default: str, pentium: str
) -> None:
    of = domain(2, arch, "pc", emulator=emulator)
    assert driver_of(of) == default
    assert driver_of(of._replace(cpu_model="pentium3")) == pentium


@pytest.mark.parametrize("number", range(1, 7))
def test_the_oldest_pseries_start_only_with_all_their_vcpus(number: int) -> None:
    layout = derived(domain(4, "ppc64", f"pseries-2.{number}"))
    assert layout.hotplug is False
    layout.check({0, 1, 2, 3})
    with pytest.raises(HotplugError, match=r"vCPU 2-3 would be disabled, .* only with all of its vCPUs"):
        layout.check({0, 1})


@pytest.mark.parametrize("machine", ["pseries-2.7", "pseries-2.10", "pseries-2.12-sxxm", "pseries-3.0"])
def test_later_pseries_have_hotplug(machine: str) -> None:
    assert derived(domain(4, "ppc64", machine)).hotplug


def test_without_hotplug_only_vcpus_0_to_n_are_possible() -> None:
    layout = derived(domain(4, "aarch64", "virt"))
    layout.check({0, 1})
    with pytest.raises(HotplugError, match="vCPU 3 would be enabled and a lower one disabled"):
        layout.check({0, 3})


def test_a_topology_must_multiply_to_the_maximum() -> None:
    shape = {"sockets": 2, "cores": 3, "threads": 1}
    msg = complaint(domain(8, topology=shape, lines={"topology": 12}))
    assert msg.startswith("line 12 of the domain XML: <topology> makes 6 vCPUs (2 sockets x 3 cores x 1 threads)")
    assert "makes 6 vCPUs" in complaint(domain(8, "aarch64", "virt", topology=shape))


@pytest.mark.parametrize(
    ("arch", "machine", "shape", "words"),
    [
        ("x86_64", "q35", {"sockets": 1, "clusters": 2}, "no clusters"),
        ("ppc64", "pseries", {"sockets": 1, "dies": 2}, "no dies"),
        ("s390x", "s390-ccw-virtio", {"sockets": 1, "threads": 2}, "no threads"),
        ("ppc64", "pseries", {"sockets": 1, "threads": 3}, "not 3"),
    ],
)
def test_levels_that_qemu_refuses_are_refused(arch: str, machine: str, shape: dict[str, int], words: str) -> None:
    number = max(shape.values())
    assert words in complaint(domain(number, arch, machine, topology=shape))


def test_nodes_that_qemu_refuses_are_refused() -> None:
    assert "vCPU 1-2 is in cell 1 and in 0" in complaint(domain(cells=cells({0, 1, 2}, {1, 2})))
    assert "cell 1 has vCPU 4-5" in complaint(domain(cells=cells({0}, {3, 4, 5})))
    assert "has 129 cells" in complaint(domain(4, cells=cells(*[None] * 129)))
    without_0 = tuple(cell._replace(id=cell.id + 1) for cell in cells({0, 1}, {2, 3}))
    assert "<numa> has no cell 0" in complaint(domain(cells=without_0))
    assert "<numa> has no cell 0" in complaint(domain(4, "aarch64", "virt", cells=without_0))
    shape = {"sockets": 2, "cores": 1, "threads": 2}
    split = domain(4, "ppc64", "pseries", topology=shape, cells=cells({0, 1, 2}, {3}), lines={"numa": 7})
    assert complaint(split) == "line 7 of the domain XML: vCPUs 2-3 are one core, but they are in different cells"
    assert "no NUMA" in complaint(domain(4, "s390x", "s390-ccw-virtio", cells=cells({0})))


def test_a_gigantic_maximum_takes_no_memory() -> None:
    assert "no machine has" in complaint(domain(10**12))
    assert "no machine has" in complaint(domain(10**12, "aarch64", "virt"))


def test_the_default_topology_is_that_of_libvirt() -> None:
    assert topology_of(domain(6)) == {"sockets": 6, "dies": 1, "clusters": 1, "cores": 1, "threads": 1}
