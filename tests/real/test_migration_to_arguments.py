# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests with NUMA nodes, of pseries and of an older QEMU migrate to a QEMU started with destination_args alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab import binaries, observer
from lab.migration import migrate
from lab.ospm import MEMORY

from .conftest import TWO_NODES, Boot, BootOspm, needs_ppc64_linux
from .support.modules import Vcpu, run_module, wait_online
from .test_migration import compared, migrates_after_unplug
from .test_placement import ACCELERATORS, where

# The guest of the laboratory, under TCG and under KVM.
TYPES = {"tcg": "qemu", "kvm": "kvm"}
MODELS = {"tcg": "<cpu>", "kvm": "<cpu mode='host-passthrough'>"}
NUMA = f"""\
<domain type='{{type}}'>
  <name>lab</name>
  <memory unit='MiB'>{MEMORY}</memory>
  <vcpu current='2'>8</vcpu>
  <cputune>
    <vcpupin vcpu='1' cpuset='0'/>
    <vcpupin vcpu='4' cpuset='1'/>
    <vcpupin vcpu='6' cpuset='1'/>
    <vcpusched vcpus='7' scheduler='batch'/>
  </cputune>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  {{cpu}}
    <topology sockets='4' cores='2' threads='1'/>
    <numa>
      <cell id='0' cpus='0-3' memory='{MEMORY // 2}' unit='MiB'/>
      <cell id='1' cpus='4-7' memory='{MEMORY // 2}' unit='MiB'/>
    </numa>
  </cpu>
</domain>
"""


needs_two_cpus = pytest.mark.skipif(
    not os.sched_getaffinity(0).issuperset({0, 1}), reason="the test pins to host CPUs 0 and 1"
)
# What pseries Linux may take to boot under TCG, on a loaded machine.
BOOT_SECONDS = 240
LAB_PSERIES = {"arch": "ppc64", "cpu": "power9_v2.2", "memory": 1024}
# QEMU 7.2 under TCG accepts plugs in sequence only, and does not migrate after an unplug.
STEPS = {"tcg": [("plug", "2"), ("plug", "3")], "kvm": [("plug", "7"), ("plug", "4"), ("unplug", "1")]}


def defined(folder: Path, text: str) -> tuple[Path, list[str]]:
    """Write a domain XML; return its file and the arguments that start QEMU with its config state."""
    xml = folder / "lab.xml"
    xml.write_text(text, encoding="utf-8")
    (found,) = run_module("kvm.hotplug.vcpu_info", domain_xml=str(xml))["guests"]
    return xml, found["qemu_args"]


@needs_two_cpus
@pytest.mark.parametrize("accel", ACCELERATORS)
def test_a_sparse_guest_with_nodes_is_placed_and_changed_where_it_has_migrated_to(
    boot_ospm: BootOspm, tmp_path: Path, accel: str
) -> None:
    xml, (_smp, smp, *memory) = defined(tmp_path, NUMA.format(type=TYPES[accel], cpu=MODELS[accel]))
    source = boot_ospm(smp, extra=memory, accel=accel)
    vcpu = Vcpu(source, xml)
    unplugs = migrates_after_unplug(source)
    for one in (7, 4):
        plugged = vcpu(vcpus=[{"id": one, "state": "enabled"}], scope="live")
        assert plugged.steps[:2] == [f"plug {one} done", f"place {one} done"], plugged
    if unplugs:
        assert vcpu(vcpus=[{"id": "1", "state": "disabled"}], scope="live").steps == ["unplug 1 done"]
    enabled = observer.enabled_ids(source.observer)
    assert enabled == ([0, 4, 7] if unplugs else [0, 1, 4, 7])

    _smp, smp, *devices = vcpu.info()["migration"]["destination_args"]
    there = boot_ospm(smp, extra=devices, accel=accel, incoming=True)
    assert compared(source, there) == {"fits": True, "reasons": []}
    migrate(source.observer, there.observer, tmp_path / "migration")
    assert observer.enabled_ids(there.observer) == enabled
    assert observer.ids_by_node(there.observer) == observer.ids_by_node(source.observer)
    for one in enabled[1:]:
        there.ospm.run_code(one)

    moved = Vcpu(there, xml)
    assert moved.info()["drift"]["placement"] == ("4,7" if unplugs else "1,4,7")
    wanted = [{"id": "6", "state": "enabled"}, {"id": "4", "state": "disabled"}]
    steps = moved.converges([*enabled[:-2], 6, 7], vcpus=wanted, scope="live").steps
    assert steps[:3] == ["plug 6 done", "place 6 done", "unplug 4 done"]
    assert steps[3:] == [f"place {one} done" for one in ((7,) if unplugs else (1, 7))]
    assert (where(there, 6)[0], where(there, 7)[1]) == ("1", "batch")
    assert moved.info()["drift"]["placement"] == ""
    there.ospm.run_code(6)


PSERIES = """\
<domain type='qemu'>
  <name>lab</name>
  <memory unit='MiB'>1024</memory>
  <vcpu current='2'>8</vcpu>
  <cputune><vcpupin vcpu='6' cpuset='1'/><vcpupin vcpu='3' cpuset='0'/></cputune>
  <os><type arch='ppc64' machine='pseries'>hvm</type></os>
  <cpu>
    <model>power9_v2.2</model>
    <topology sockets='2' cores='2' threads='2'/>
    <numa>
      <cell id='0' cpus='0-3' memory='512' unit='MiB'/>
      <cell id='1' cpus='4-7' memory='512' unit='MiB'/>
    </numa>
  </cpu>
</domain>
"""


@needs_ppc64_linux
@needs_two_cpus
def test_a_pseries_guest_boots_with_the_cores_that_it_had_before_its_migration(boot: Boot, tmp_path: Path) -> None:
    """Under TCG, CPUs of a pseries guest that runs already hang after a migration, also without any plug."""
    xml, (_smp, smp, *memory) = defined(tmp_path, PSERIES)
    source = boot(smp, paused=True, extra=memory, **LAB_PSERIES)
    vcpu = Vcpu(source, xml)
    plugged = vcpu(vcpus=[{"id": "6-7", "state": "enabled"}], scope="live")
    assert plugged.steps == ["plug 6-7 done", "place 6 done"], plugged
    _smp, smp, *devices = vcpu.info()["migration"]["destination_args"]

    there = boot(smp, incoming=True, ready=False, extra=devices, **LAB_PSERIES)
    assert compared(source, there) == {"fits": True, "reasons": []}
    migrate(source.observer, there.observer, tmp_path / "migration")
    source.kill()
    assert observer.enabled_ids(there.observer) == [0, 1, 6, 7]
    there.observer.execute("cont")
    there.speaks = True
    there.wait_ready(BOOT_SECONDS)
    wait_online(there, 4)

    moved = Vcpu(there, xml)
    assert moved.info()["drift"]["placement"] == "6"
    applied = moved.converges([0, 1, 2, 3, 6, 7], vcpus=[{"id": "2-3", "state": "enabled"}], scope="live")
    assert applied.steps == ["plug 2-3 done", "place 3 done", "place 6 done"]
    threads = {cpu["cpu-index"]: cpu["thread-id"] for cpu in there.observer.execute("query-cpus-fast")}
    assert [os.sched_getaffinity(threads[one]) for one in (3, 6)] == [{0}, {1}]
    assert len(observer.guest_cpus(there, "present")) == 6
    assert sorted(map(len, observer.guest_nodes(there).values())) == [2, 4]


@pytest.mark.parametrize("accel", ACCELERATORS)
def test_a_sparse_guest_migrates_to_a_newer_qemu_with_the_same_machine_type(
    boot_ospm: BootOspm, tmp_path: Path, accel: str
) -> None:
    older, newer = binaries.distribution(), binaries.default()
    if older.version >= newer.version:
        pytest.skip(f"{older} is the only QEMU here")
    machine = "pc-q35-{}.{}".format(*older.version)
    source = boot_ospm(TWO_NODES["smp"], qemu=older, machine=machine, accel=accel)
    vcpu = Vcpu(source)
    for step, one in STEPS[accel]:
        state = "enabled" if step == "plug" else "disabled"
        assert vcpu(vcpus=[{"id": one, "state": state}]).steps == [f"{step} {one} done"]
    enabled = observer.enabled_ids(source.observer)
    _smp, smp, *devices = vcpu.info()["migration"]["destination_args"]

    there = boot_ospm(smp, qemu=newer, machine=machine, accel=accel, incoming=True, extra=devices)
    assert compared(source, there) == {"fits": True, "reasons": []}
    migrate(source.observer, there.observer, tmp_path / "migration")
    assert observer.enabled_ids(there.observer) == enabled
    moved = Vcpu(there)
    wanted = [{"id": "6", "state": "enabled"}, {"id": enabled[-1], "state": "disabled"}]
    steps = moved.converges([*enabled[:-1], 6], vcpus=wanted).steps
    assert steps == ["plug 6 done", f"unplug {enabled[-1]} done"]
    there.ospm.run_code(6)
