# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vcpu and vcpu_info on a real guest that accepts all requests: Linux, or an OSPM guest where QEMU shows all."""

from __future__ import annotations

from typing import Any

import pytest

from lab import binaries, observer
from lab.guest import Guest

from .conftest import TWO_NODES, Boot, BootOspm, needs_ppc64, needs_ppc64_linux
from .support.modules import Vcpu, run_module, wait_online
from .support.tasks import VcpuTask

QEMUS = binaries.qemus()


def test_vcpus_are_plugged_by_node_id_and_count_and_unplugged(boot: Boot) -> None:
    guest = boot(**TWO_NODES)
    vcpu = VcpuTask(guest)

    vcpu.converges([0, 1, 4, 5], nodes=[{"id": 1, "count": 2}])
    wait_online(guest, 4)
    assert {node: len(cpus) for node, cpus in observer.guest_nodes(guest).items()} == {0: 2, 1: 2}

    result = vcpu.converges([0, 1, 4, 5, 7], vcpus=[{"id": "7", "state": "enabled"}])
    assert (result["sparse"]["live"], result["migration"]["feature"]) == (True, "sparse-vcpus")
    wait_online(guest, 5)

    vcpu.converges([0, 1, 2, 4, 5, 7], count=6)
    vcpu.converges([0, 2, 4], vcpus=[{"id": "1,5,7", "state": "disabled"}])
    wait_online(guest, 3)


@pytest.mark.parametrize("qemu", QEMUS, ids=str)
def test_every_available_qemu_plugs_and_unplugs_a_vcpu(boot: Boot, qemu: binaries.Qemu) -> None:
    # 7.2's guests hang under TCG when vCPUs are plugged out of sequence, and on a loaded host now and then anyway.
    for attempts_left in (2, 1, 0) if qemu.version < (8,) else (0,):
        guest = boot(**TWO_NODES, qemu=qemu)
        try:
            plugs_and_unplugs(guest)
            return
        except (AssertionError, OSError):
            if not attempts_left or not hangs(guest):
                raise


def plugs_and_unplugs(guest: Guest) -> None:
    vcpu = Vcpu(guest)
    vcpu.converges([0, 1, 2], nodes=[{"id": "0", "count": 3}])
    wait_online(guest, 3)
    vcpu.converges([0, 1, 2, 3], vcpus=[{"id": "3", "state": "enabled"}])
    wait_online(guest, 4)
    vcpu.converges([0, 1], count=2)


def hangs(guest: Guest) -> bool:
    try:
        guest.shell("true", timeout=10)
    except OSError:
        return True
    return False


def test_an_unplugged_vcpu_can_be_plugged_again(boot_ospm: BootOspm) -> None:
    vcpu = Vcpu(boot_ospm(**TWO_NODES, accel="tcg"))
    vcpu.converges([0, 1, 2], count=3)
    vcpu.converges([0, 1], count=2)
    vcpu.converges([0, 1, 2], count=3)


def test_exclusive_disables_all_other_vcpus(boot_ospm: BootOspm) -> None:
    vcpu = Vcpu(boot_ospm(**TWO_NODES))
    vcpu.converges([0, 6], vcpus=[{"id": "0,6", "state": "enabled"}], exclusive=True)


def test_a_count_can_be_spread_over_the_nodes(boot_ospm: BootOspm) -> None:
    guest = boot_ospm(**TWO_NODES)
    Vcpu(guest).converges([0, 1, 4, 5], count=4, placement="spread")
    assert observer.ids_by_node(guest.observer) == {0: [0, 1, 2, 3], 1: [4, 5, 6, 7]}


def test_a_node_can_be_filled_and_emptied(boot_ospm: BootOspm) -> None:
    vcpu = Vcpu(boot_ospm(**TWO_NODES))
    vcpu.converges([0, 1, 4, 5, 6, 7], nodes=[{"id": "1", "state": "enabled"}])
    vcpu.converges([0, 1], nodes=[{"id": "1", "state": "disabled"}])


def test_granularity_core_moves_both_threads(boot_ospm: BootOspm) -> None:
    guest = boot_ospm(smp="2,sockets=2,cores=2,threads=2,maxcpus=8")
    vcpu = Vcpu(guest)
    vcpu.converges([0, 1, 6, 7], vcpus=[{"id": "6", "state": "enabled"}], granularity="core")
    vcpu.converges([0, 1], count=2, granularity="core")


def test_the_result_of_each_vcpu_equals_qemus_reply(boot_ospm: BootOspm) -> None:
    guest = boot_ospm(**TWO_NODES, name="web1", uuid="4c1f4a7e-3f0e-4c8e-9a93-0a6d1e7d3b11")
    vcpu = Vcpu(guest)
    vcpu(vcpus=[{"id": "5", "state": "enabled"}])
    info = vcpu.info()
    assert info["guest"] == {
        "name": "web1",
        "uuid": "4c1f4a7e-3f0e-4c8e-9a93-0a6d1e7d3b11",
        "state": "running",
        "arch": "x86_64",
        "machine": guest.observer.execute("qom-get", path="/machine", property="type")[: -len("-machine")],
        "max_vcpus": 8,
        "entity_size": 1,
    }
    threads = {cpu["qom-path"]: cpu["thread-id"] for cpu in guest.observer.execute("query-cpus-fast")}
    for told in info["vcpus"]:
        slot = observer.slot_of(guest.observer, told["id"])
        props = {key[: -len("-id")]: value for key, value in slot["props"].items()}
        assert {key: told[key] for key in props} == props
        assert told["thread_id"] == threads.get(slot.get("qom-path"))
    assert [told["alias"] for told in info["vcpus"]] == [None] * 5 + ["vcpu5"] + [None] * 2
    assert [told["can_disable"] and told["can_disable"]["code"] for told in info["vcpus"]] == [
        "not_hotpluggable",
        *[None] * 7,
    ]
    assert info["nodes"] == [
        {"id": 0, "vcpus": "0-3", "live": "0-1", "config": None},
        {"id": 1, "vcpus": "4-7", "live": "5", "config": None},
    ]


def test_the_destination_arguments_start_a_qemu_with_the_same_vcpus(boot_ospm: BootOspm) -> None:
    source = boot_ospm(smp="3,sockets=2,cores=4,threads=1,maxcpus=8")
    vcpu = Vcpu(source)
    sparse = vcpu.converges([0, 1, 3, 6], vcpus=[{"id": "0,1,3,6", "state": "enabled"}], exclusive=True)
    arguments = sparse["migration"]["destination_args"]
    destination = boot_ospm(smp=arguments[1], extra=arguments[2:], paused=True)
    assert observer.enabled_ids(destination.observer) == observer.enabled_ids(source.observer) == [0, 1, 3, 6]


def test_a_monitor_on_tcp_works_too(boot: Boot) -> None:
    guest = boot(**TWO_NODES, tcp_monitor=True, paused=True)
    result = run_module("kvm.hotplug.vcpu", qmp_socket=guest.tcp_monitor, count=3)
    assert result["changed"]
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]


@needs_ppc64_linux
def test_a_pseries_core_is_plugged_and_unplugged_as_a_whole(boot: Boot) -> None:
    guest = boot(arch="ppc64", smp="8,sockets=1,cores=3,threads=8,maxcpus=24", memory=1024)
    vcpu = Vcpu(guest)
    refused = vcpu.refuses("partial_entity", vcpus=[{"id": "9", "state": "enabled"}])
    assert "8,10-15" in refused["msg"]
    vcpu.converges(list(range(16)), vcpus=[{"id": "9", "state": "enabled"}], granularity="core")
    assert len(observer.guest_cpus(guest, "present")) == 16
    try:
        vcpu.converges(list(range(8)), vcpus=[{"id": "8-15", "state": "disabled"}])
    except (AssertionError, OSError):
        if "corruption" in guest.log.read_text(encoding="utf-8"):
            pytest.skip(f"{guest.qemu} corrupts its own memory when a core is unplugged under TCG")
        raise
    assert len(observer.guest_cpus(guest, "present")) == 8


def test_a_paused_guest_acknowledges_a_plug_when_it_resumes(boot_ospm: BootOspm) -> None:
    guest = boot_ospm(**TWO_NODES)
    guest.observer.execute("stop")
    Vcpu(guest).converges([0, 1, 2], count=3)
    guest.observer.execute("cont")
    observer.wait_enabled(guest.observer, [0, 1, 2])
    guest.ospm.wait("ost 2 1 0")


def test_a_guest_that_was_never_started_boots_with_a_plugged_vcpu(boot: Boot) -> None:
    guest = boot(**TWO_NODES, paused=True)
    result = Vcpu(guest).converges([0, 1, 6], vcpus=[{"id": "6", "state": "enabled"}])
    assert result["guest"]["state"] == "paused"
    guest.observer.execute("cont")
    guest.wait_ready()
    wait_online(guest, 3)


@needs_ppc64
@pytest.mark.parametrize("has_nodes", [False, True])
def test_a_destination_of_pseries_is_started_with_the_same_cores(boot: Boot, has_nodes: bool) -> None:
    options: dict[str, Any] = {"arch": "ppc64", "boot": False, "paused": True}
    source = boot(smp="2,sockets=1,cores=4,threads=2,maxcpus=8", numa=[{}] if has_nodes else [], **options)
    found = Vcpu(source)(vcpus=[{"id": "6-7", "state": "enabled"}])["migration"]
    assert found["feature"] == "sparse-vcpus"
    if has_nodes:
        assert found["destination_args"] == [], "the monitor does not show the memory of the nodes"
        return
    smp, *devices = found["destination_args"][1:]
    destination = boot(smp=smp, extra=[*devices, "-incoming", "defer"], **options)
    assert observer.enabled_ids(destination.observer) == observer.enabled_ids(source.observer) == [0, 1, 6, 7]
