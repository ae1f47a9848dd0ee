# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layout derived for a domain's next boot, compared with real QEMUs that boot it."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import (
    ConfigLayout,
    layout_of_domain,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.qemu_args import qemu_args
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Cell, Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import read_slots
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from lab import LabError, binaries, observer
from lab.architectures import PSERIES
from lab.guest import Guest
from lab.libvirtd import Libvirt
from lab.software import releases

from .conftest import Boot, needs_ppc64
from .support.modules import Vcpu, wait_online

X86_MACHINES = ("q35", "pc", "pc-q35-7.2", "pc-i440fx-6.1", "pc-q35-4.0", None)
NODE_KIB = {"x86_64": 64 * 1024, "ppc64": 256 * 1024}


def examples(most: int) -> Any:
    """The same examples at every run, so many of them: each takes a QEMU."""
    return settings(
        max_examples=most,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def cells(draw: st.DrawFn, arch: str, entities: list[tuple[int, ...]]) -> tuple[Cell, ...]:
    """No cells, cells that list no vCPUs, or cells that list some or all of them, some without memory."""
    number = draw(st.integers(0, 3))
    sizes = [draw(st.sampled_from([1, 1, 2, 0])) for _cell in range(number)]
    if number and not any(sizes):
        sizes[-1] = 1
    listed: list[set[int]] = [set() for _cell in range(number)]
    if number and draw(st.integers(0, 3)):
        kept = draw(st.sampled_from([100, 60]))
        for entity in entities:
            if draw(st.integers(0, 99)) < kept:
                listed[draw(st.integers(0, number - 1))].update(entity)
    return tuple(
        Cell(node, frozenset(cpus) or None, size * NODE_KIB[arch])
        for node, (cpus, size) in enumerate(zip(listed, sizes))
    )


@st.composite
def x86_domains(draw: st.DrawFn) -> Domain:
    topology = {
        "sockets": draw(st.integers(1, 4)),
        "dies": draw(st.sampled_from([1, 1, 2, 3])),
        "clusters": 1,
        "cores": draw(st.integers(1, 5)),
        "threads": draw(st.integers(1, 2)),
    }
    most = topology["sockets"] * topology["dies"] * topology["cores"] * topology["threads"]
    return Domain(
        max_vcpus=most,
        enabled=frozenset([0]),
        arch="x86_64",
        machine=draw(st.sampled_from(X86_MACHINES)),
        topology=topology if draw(st.integers(0, 4)) else {},
        cells=draw(cells("x86_64", [(vcpu,) for vcpu in range(most)])),
    )


@st.composite
def pseries_domains(draw: st.DrawFn) -> Domain:
    threads = draw(st.sampled_from([1, 2, 4, 8]))
    topology = {"sockets": draw(st.integers(1, 3)), "cores": draw(st.integers(1, 3)), "threads": threads}
    most = topology["sockets"] * topology["cores"] * threads
    return Domain(
        max_vcpus=most,
        enabled=frozenset(range(threads)),
        arch="ppc64",
        machine="pseries",
        cpu_model="power9_v2.2",
        topology=topology,
        cells=draw(cells("ppc64", [tuple(range(first, first + threads)) for first in range(0, most, threads)])),
    )


def derived(domain: Domain) -> ConfigLayout:
    layout = layout_of_domain(domain)
    assert layout is not None
    return layout


def as_libvirt_starts_it(domain: Domain) -> list[str]:
    """Arguments for the domain's vCPUs and nodes, written as libvirt writes them, which is not as we do."""
    levels = domain.topology or {"sockets": domain.max_vcpus, "dies": 1, "cores": 1, "threads": 1}
    shape = ",".join(f"{level}={number}" for level, number in levels.items() if level != "clusters")
    arguments = ["-smp", f"{len(domain.enabled)},maxcpus={domain.max_vcpus},{shape}"]
    if domain.cells:
        arguments += ["-m", f"size={sum(cell.memory for cell in domain.cells)}k"]
    for cell in domain.cells:
        node = f"node,nodeid={cell.id}"
        node += "".join(f",cpus={vcpu}" for vcpu in sorted(cell.cpus or ()))
        if cell.memory:
            arguments += ["-object", f"memory-backend-ram,id=m{cell.id},size={cell.memory}K"]
            node += f",memdev=m{cell.id}"
        arguments += ["-numa", node]
    return arguments


def slots_of(domain: Domain, arguments: list[str], qemu: binaries.Qemu) -> list[dict[str, Any]]:
    """The slots of a real QEMU started with these arguments, by topology."""
    arch = domain.arch or "x86_64"
    machine = PSERIES if arch == "ppc64" else domain.machine or "pc"
    memory = max(sum(cell.memory for cell in domain.cells) // 1024, NODE_KIB[arch] * 2 // 1024)
    options: dict[str, Any] = {"machine": machine, "cpu": domain.cpu_model, "arch": arch, "memory": memory}
    with (
        tempfile.TemporaryDirectory() as folder,
        Guest(folder, smp="1", qemu=qemu, boot=False, paused=True, extra=arguments, **options) as guest,
    ):
        return observer.slots(guest.observer)


def agrees(domain: Domain, qemu: binaries.Qemu) -> None:
    layout = derived(domain)
    real = slots_of(domain, as_libvirt_starts_it(domain), qemu)
    assert [dict(slot.props) for slot in layout.slots] == [slot["props"] for slot in real]
    assert [slot.driver for slot in layout.slots] == [slot["type"] for slot in real]
    assert layout.layout.entities == tuple(slot.entity for slot in read_slots(real))


def starts(domain: Domain, enabled: set[int], qemu: binaries.Qemu) -> None:
    arguments = qemu_args(domain, derived(domain), enabled)
    real = slots_of(domain, list(arguments), qemu)
    assert [vcpu for slot in real if "qom-path" in slot for vcpu in slot["ids"]] == sorted(enabled)
    assert [slot["props"] for slot in real] == [dict(slot.props) for slot in derived(domain).slots]


@examples(100)
@given(x86_domains())
def test_the_slots_of_pc_and_q35_are_derived(domain: Domain) -> None:
    agrees(domain, binaries.default())


@examples(25)
@given(x86_domains())
def test_the_distributions_qemu_has_the_same_slots(domain: Domain) -> None:
    agrees(domain, binaries.distribution())


@needs_ppc64
@examples(50)
@given(pseries_domains())
def test_the_slots_of_pseries_are_derived(domain: Domain) -> None:
    agrees(domain, binaries.default("ppc64"))


@pytest.mark.parametrize("qemu", binaries.qemus(), ids=str)
def test_cells_that_are_not_numbered_from_0_are_refused_as_by_qemu(qemu: binaries.Qemu) -> None:
    cells = (Cell(1, frozenset({0, 1}), NODE_KIB["x86_64"]), Cell(2, frozenset({2, 3}), NODE_KIB["x86_64"]))
    domain = Domain(max_vcpus=4, enabled=frozenset([0]), arch="x86_64", machine="q35", cells=cells)
    with pytest.raises(LabError, match="Node ID missing: 0"):
        slots_of(domain, as_libvirt_starts_it(domain), qemu)
    with pytest.raises(HotplugError, match="no cell 0"):
        layout_of_domain(domain)


@pytest.mark.parametrize("qemu", binaries.qemus(), ids=str)
def test_the_drivers_of_named_models_are_derived(qemu: binaries.Qemu) -> None:
    for model in ("Skylake-Client-IBRS", "EPYC-v2", "max"):
        agrees(Domain(max_vcpus=2, enabled=frozenset([0]), arch="x86_64", machine="q35", cpu_model=model), qemu)


@pytest.mark.parametrize("arch", ["x86_64", "i386"])
def test_an_i686_guest_boots_sparse_on_either_binary(arch: str) -> None:
    for qemu in binaries.qemus(arch):
        domain = Domain(
            max_vcpus=4, enabled=frozenset([0, 2]), arch="i686", machine="pc", emulator=os.fspath(qemu.path)
        )
        arguments = qemu_args(domain, derived(domain), domain.enabled)
        command = [*qemu.command, "-machine", "pc", "-S", "-display", "none", "-nodefaults", "-monitor", "stdio"]
        done = subprocess.run(
            [*command, *arguments],
            input="info hotpluggable-cpus\nquit\n",
            env=qemu.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert re.findall(r'qom_path: "(\S+)"', done.stdout)[0] == "/machine/peripheral/vcpu2"
        assert done.stdout.count("qom_path") == 2


@examples(60)
@given(x86_domains(), st.data())
def test_the_arguments_start_x86_with_exactly_the_requested_vcpus(domain: Domain, data: st.DataObject) -> None:
    starts(domain, {0} | data.draw(st.sets(st.integers(0, domain.max_vcpus - 1))), binaries.default())


@needs_ppc64
@examples(25)
@given(pseries_domains(), st.data())
def test_the_arguments_start_pseries_with_exactly_the_requested_cores(domain: Domain, data: st.DataObject) -> None:
    cores = [entity.vcpus for entity in derived(domain).layout.entities]
    desired = {0} | data.draw(st.sets(st.integers(0, len(cores) - 1)))
    starts(domain, {vcpu for core in desired for vcpu in cores[core]}, binaries.default("ppc64"))


ALL_OF_NUMA = """\
<domain type='qemu'>
  <name>numa</name>
  <maxMemory slots='4' unit='MiB'>2048</maxMemory>
  <memory unit='MiB'>512</memory>
  <vcpu current='1'>4</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu>
    <topology sockets='2' cores='2' threads='1'/>
    <numa>
      <cell id='0' cpus='0-3' memory='256' unit='MiB'>
        <distances><sibling id='0' value='10'/><sibling id='1' value='21'/></distances>
        <cache level='1' associativity='direct' policy='writeback'>
          <size value='10' unit='KiB'/><line value='8' unit='B'/>
        </cache>
      </cell>
      <cell id='1' memory='256' unit='MiB'/>
      <cell id='2' memory='0'/>
      <interconnects>
        <latency initiator='0' target='0' type='access' value='5'/>
        <latency initiator='0' target='0' cache='1' type='read' value='3'/>
        <bandwidth initiator='0' target='0' type='access' value='204800' unit='KiB'/>
        <bandwidth initiator='0' target='1' type='write' value='200' unit='MiB'/>
      </interconnects>
    </numa>
  </cpu>
</domain>
"""


def arguments_of_numa(arguments: list[str]) -> list[str]:
    """Distances, interconnects, caches and initiators, as libvirt and we write them alike."""
    words = " ".join(arguments)
    return re.findall(r"-numa (?:dist|hmat-lb|hmat-cache),\S+|nodeid=\d+|initiator=\d+(?=,memdev| |$)|slots=\d+", words)


@pytest.mark.parametrize("release", releases())
def test_nodes_are_written_as_libvirt_writes_them(release: str) -> None:
    domain = read_domain(ALL_OF_NUMA.encode())
    own = list(qemu_args(domain, derived(domain), domain.enabled))
    with Libvirt(release) as libvirt:
        file = libvirt.folder / "numa.xml"
        emulator = f"<devices><emulator>{binaries.distribution().path}</emulator></devices></domain>"
        file.write_text(ALL_OF_NUMA.replace("</domain>", emulator))
        file.chmod(0o644)
        native = libvirt.virsh(f"domxml-to-native qemu-argv {file}").split()
    # For a node without memory, libvirt makes a memory object of no size.
    without_object = [word.replace("initiator=0,memdev=ram-node2", "initiator=0") for word in native]
    assert arguments_of_numa(own)
    assert sorted(arguments_of_numa(own)) == sorted(arguments_of_numa(without_object))
    assert any("hmat=on" in word for word in native)
    assert "hmat=on" in own


@pytest.mark.parametrize("qemu", binaries.qemus(), ids=str)
def test_qemu_starts_with_distances_a_memory_table_and_memory_slots(qemu: binaries.Qemu) -> None:
    domain = read_domain(ALL_OF_NUMA.encode())
    arguments = list(qemu_args(domain, derived(domain), {0, 2}))
    with (
        tempfile.TemporaryDirectory() as folder,
        Guest(folder, smp="1", qemu=qemu, boot=False, paused=True, memory=512, extra=arguments) as guest,
    ):
        assert observer.enabled_ids(guest.observer) == [0, 2]
        assert guest.observer.execute("qom-get", path="/machine", property="hmat") is True
        memory = guest.observer.execute("qom-get", path="/machine", property="memory")
        assert memory == {"size": 512 << 20, "slots": 4, "max-size": 2048 << 20}


@pytest.mark.parametrize("qemu", binaries.qemus(), ids=str)
def test_memory_slots_put_all_vcpus_on_a_node(qemu: binaries.Qemu) -> None:
    domain = Domain(
        max_vcpus=4,
        enabled=frozenset({0}),
        arch="x86_64",
        machine="q35",
        memory=256 * 1024,
        memory_slots=2,
        max_memory=1024 * 1024,
    )
    starts(domain, {0, 2}, qemu)
    assert derived(domain).layout.nodes.keys() == {0}


def test_a_guest_boots_sparse_and_is_then_plugged_further(boot: Boot) -> None:
    domain = Domain(
        max_vcpus=8,
        enabled=frozenset([0, 1, 3, 6]),
        arch="x86_64",
        machine="q35",
        topology={"sockets": 4, "dies": 1, "clusters": 1, "cores": 2, "threads": 1},
        cells=(Cell(0, frozenset(range(4)), 128 * 1024), Cell(1, frozenset(range(4, 8)), 128 * 1024)),
    )
    arguments = qemu_args(domain, derived(domain), domain.enabled)
    guest = boot(smp=arguments[1], extra=arguments[2:])
    assert observer.enabled_ids(guest.observer) == [0, 1, 3, 6]
    wait_online(guest, 4)
    assert {node: len(cpus) for node, cpus in observer.guest_nodes(guest).items()} == {0: 3, 1: 1}

    vcpu = Vcpu(guest)
    vcpu.converges([0, 1, 3, 4, 5, 6], nodes=[{"id": 1, "count": 3}])
    wait_online(guest, 6)
    assert {node: len(cpus) for node, cpus in observer.guest_nodes(guest).items()} == {0: 3, 1: 3}
    # A vCPU that QEMU was started with by -device goes like any that was plugged.
    vcpu.converges([0, 1, 4, 5, 6], vcpus=[{"id": "3", "state": "disabled"}])


def test_a_boot_vcpu_disabled_in_config_stays_disabled_after_the_boot(boot: Boot) -> None:
    domain = Domain(max_vcpus=4, enabled=frozenset([0, 2, 3]), arch="x86_64", machine="q35")
    arguments = qemu_args(domain, derived(domain), domain.enabled)
    guest = boot(smp=arguments[1], extra=arguments[2:])
    assert observer.enabled_ids(guest.observer) == [0, 2, 3]
    wait_online(guest, 3)
    assert qemu_args(domain, derived(domain), [0, 1]) == (*("-smp", "cpus=2,maxcpus=4,sockets=4,cores=1,threads=1"),)
