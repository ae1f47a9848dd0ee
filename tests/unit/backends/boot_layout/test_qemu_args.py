# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The arguments for a config state, as text; tests/real starts QEMU with them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import layout_of_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.qemu_args import qemu_args
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Cell, Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError

MIB = 1024


def arguments(enabled: set[int], max_vcpus: int = 4, **options: Any) -> str:
    domain = Domain(max_vcpus, frozenset(enabled), **{"arch": "x86_64", "machine": "q35", **options})
    layout = layout_of_domain(domain)
    assert layout is not None
    return " ".join(qemu_args(domain, layout, enabled))


def complaint(enabled: set[int], max_vcpus: int = 4, **options: Any) -> str:
    with pytest.raises(HotplugError) as caught:
        arguments(enabled, max_vcpus, **options)
    assert caught.value.code == CONFIG_INVALID
    return caught.value.msg


def test_the_contiguous_vcpus_from_0_on_are_booted() -> None:
    assert arguments({0, 1}) == "-smp cpus=2,maxcpus=4,sockets=4,cores=1,threads=1"
    assert arguments({0, 1, 2, 3}) == "-smp cpus=4,maxcpus=4,sockets=4,cores=1,threads=1"


def test_all_others_are_devices() -> None:
    assert arguments({0, 2}, 4, topology={"sockets": 1, "dies": 2, "cores": 1, "threads": 2}) == (
        "-smp cpus=1,maxcpus=4,sockets=1,dies=2,cores=1,threads=2 "
        "-device qemu64-x86_64-cpu,id=vcpu2,core-id=0,die-id=1,socket-id=0,thread-id=0"
    )


def test_hotpluggable_vcpus_are_devices_as_far_as_their_driver_is_known() -> None:
    hotpluggable: Any = {"hotpluggable": frozenset({1, 2, 3}), "topology": {"sockets": 1, "cores": 4, "threads": 1}}
    assert arguments({0, 1, 3}, **hotpluggable) == (
        "-smp cpus=1,maxcpus=4,sockets=1,cores=4,threads=1 "
        "-device qemu64-x86_64-cpu,id=vcpu1,core-id=1,socket-id=0,thread-id=0 "
        "-device qemu64-x86_64-cpu,id=vcpu3,core-id=3,socket-id=0,thread-id=0"
    )
    assert arguments({0, 1}, cpu_mode="host-model", **hotpluggable).startswith("-smp cpus=2,maxcpus=4")
    assert arguments({0, 1}, **{**hotpluggable, "machine": "microvm"}).startswith("-smp cpus=2,maxcpus=4")


def test_a_core_that_is_not_completely_hotpluggable_is_booted() -> None:
    pseries: Any = {"arch": "ppc64", "machine": "pseries", "cpu_model": "power9_v2.2"}
    shape = {"sockets": 1, "cores": 2, "threads": 2}
    some, every = (
        arguments({0, 1, 2, 3}, topology=shape, hotpluggable=frozenset(ids), **pseries) for ids in ({1, 2}, {2, 3})
    )
    assert some.startswith("-smp cpus=4,maxcpus=4")
    assert every == (
        "-smp cpus=2,maxcpus=4,sockets=1,cores=2,threads=2 "
        "-device power9_v2.2-spapr-cpu-core,id=vcpu2,core-id=2,node-id=0"
    )


def test_a_pseries_core_is_booted_as_a_whole() -> None:
    pseries: Any = {"arch": "ppc64", "machine": "pseries", "cpu_model": "power9_v2.2"}
    shape = {"sockets": 3, "cores": 1, "threads": 4}
    assert arguments({0, 1, 2, 3, 8, 9, 10, 11}, 12, topology=shape, **pseries) == (
        "-smp cpus=4,maxcpus=12,sockets=3,cores=1,threads=4 "
        "-device power9_v2.2-spapr-cpu-core,id=vcpu8,core-id=8,node-id=0"
    )
    assert "vCPUs 4-7 are one core, but only 4-5" in complaint({0, 1, 2, 3, 4, 5}, 12, topology=shape, **pseries)


def test_cells_have_memory_and_sockets() -> None:
    cells = (Cell(0, frozenset([0, 1, 2]), 128 * MIB), Cell(1, frozenset([3]), 0), Cell(2, None, MIB + 1))
    assert arguments({0}, cells=cells, topology={"sockets": 2, "cores": 2, "threads": 1}) == (
        "-smp cpus=1,maxcpus=4,sockets=2,cores=2,threads=1 -m 130M "
        "-object memory-backend-ram,id=ram-node0,size=128M -object memory-backend-ram,id=ram-node2,size=2M "
        "-numa node,nodeid=0,memdev=ram-node0 -numa node,nodeid=1 -numa node,nodeid=2,memdev=ram-node2 "
        "-numa cpu,node-id=0,socket-id=0 "
        "-numa cpu,node-id=0,socket-id=1,core-id=0,thread-id=0 -numa cpu,node-id=1,socket-id=1,core-id=1,thread-id=0"
    )


def test_memory_on_pseries_is_rounded_up_to_blocks() -> None:
    pseries: Any = {"arch": "ppc64", "machine": "pseries"}
    assert "-m 512M" in arguments({0}, cells=(Cell(0, frozenset([0, 1, 2, 3]), 257 * MIB),), **pseries)


def test_without_hotplug_nodes_have_vcpus_by_id() -> None:
    virt: Any = {"arch": "aarch64", "machine": "virt"}
    cells = (Cell(0, frozenset([0, 1, 3]), MIB), Cell(1, frozenset([2]), MIB))
    assert "-numa node,nodeid=0,cpus=0-1,cpus=3,memdev=ram-node0" in arguments({0, 1}, cells=cells, **virt)
    assert "vCPU 2 would be enabled and a lower one disabled" in complaint({0, 2}, **virt)


def test_an_unknown_driver_is_not_guessed() -> None:
    assert arguments({0, 2}, cpu_mode="host-model") == ""
    assert arguments({0, 1}, cpu_mode="host-model") == "-smp cpus=2,maxcpus=4,sockets=4,cores=1,threads=1"


def test_no_guest_boots_without_vcpu_0() -> None:
    assert "vCPU 0" in complaint({1, 2})
    assert "vCPU 0" in complaint(set())
