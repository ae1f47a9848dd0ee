# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Placement: where the threads of vCPUs run, by the kernel's own /proc, and what the modules report and do of it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from lab import kvm, observer
from lab.contact import Contact
from lab.migration import migrate

from .conftest import Boot, BootOspm, OspmDomains
from .support.modules import Vcpu

ACCELERATORS = ["tcg", *(["kvm"] if kvm.kvm_works() else [])]
MACHINE = {"smp": "2,sockets=1,cores=8,threads=1,maxcpus=8"}
POLICIES = {0: "other", 1: "fifo", 2: "rr", 3: "batch", 5: "idle"}

pytestmark = pytest.mark.skipif(
    not os.sched_getaffinity(0).issuperset({0, 1}), reason="the tests pin to host CPUs 0 and 1"
)


def where(guest: Contact, vcpu: int) -> tuple[str, str]:
    """The pin and the policy of a vCPU's thread, as /proc has them."""
    folder = Path(f"/proc/{observer.thread_of(guest.observer, vcpu)}")
    allowed = re.findall(r"^Cpus_allowed_list:\t(.+)$", (folder / "status").read_text(), re.MULTILINE)[0]
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    policy = POLICIES[int(fields[38])]
    return allowed, f"{policy}:{fields[37]}" if policy in ("fifo", "rr") else policy


def reported(vcpu: dict[str, Any]) -> tuple[str, str]:
    return vcpu["pin"], vcpu["scheduler"]


def domain_xml(folder: Path, cputune: str, more: str = "") -> Path:
    path = folder / "lab.xml"
    path.write_text(
        "<domain type='qemu'><name>lab</name><memory unit='MiB'>32</memory><vcpu current='2'>8</vcpu>"
        f"<cputune>{cputune}</cputune>{more}<os><type arch='x86_64' machine='q35'>hvm</type></os>"
        "<cpu><topology sockets='1' cores='8' threads='1'/></cpu></domain>\n"
    )
    return path


@pytest.mark.parametrize("accel", ACCELERATORS)
def test_pin_and_scheduler_are_those_of_the_thread_and_drift_names_others(
    boot_ospm: BootOspm, tmp_path: Path, accel: str
) -> None:
    guest = boot_ospm(**MACHINE, accel=accel)
    vcpu = Vcpu(guest, domain_xml(tmp_path, "<vcpupin vcpu='1' cpuset='1'/><vcpusched vcpus='0' scheduler='batch'/>"))
    seen = vcpu.info()
    assert [reported(seen["vcpus"][one]) for one in (0, 1)] == [where(guest, one) for one in (0, 1)]
    assert seen["drift"]["placement"] == "0-1"
    assert {one["host_nodes"] for one in seen["vcpus"][:2]} == {"0"}
    os.sched_setaffinity(observer.thread_of(guest.observer, 1), {1})
    os.sched_setscheduler(observer.thread_of(guest.observer, 0), os.SCHED_BATCH, os.sched_param(0))
    seen = vcpu.info()
    assert [reported(seen["vcpus"][one]) for one in (0, 1)] == [where(guest, one) for one in (0, 1)]
    assert reported(seen["vcpus"][1]) == ("1", "other")
    assert seen["vcpus"][0]["scheduler"] == "batch"
    assert seen["drift"]["placement"] == ""


def test_over_a_network_the_threads_are_unknown(boot_ospm: BootOspm) -> None:
    guest = boot_ospm(**MACHINE, tcp_monitor=True)
    vcpu = Vcpu(guest)
    vcpu.source["qmp_socket"] = guest.tcp_monitor
    seen = vcpu.info()
    assert seen["vcpus"][0]["thread_id"] == observer.thread_of(guest.observer, 0)
    assert {reported(one) for one in seen["vcpus"]} == {(None, None)}
    assert seen["drift"]["placement"] is None


def test_the_threads_of_a_libvirt_guest_are_reported_too(newest_ospm_domain: OspmDomains) -> None:
    guest = newest_ospm_domain(rest="<cputune><vcpupin vcpu='1' cpuset='1'/></cputune>")
    vcpu = Vcpu(guest)
    seen = vcpu.info()
    assert [reported(seen["vcpus"][one]) for one in (0, 1)] == [where(guest, one) for one in (0, 1)]
    assert seen["vcpus"][1]["thread_id"] == observer.thread_of(guest.observer, 1)
    assert seen["drift"]["placement"] == ""
    os.sched_setaffinity(observer.thread_of(guest.observer, 1), {0})
    seen = vcpu.info()
    assert (seen["vcpus"][1]["pin"], seen["drift"]["placement"]) == ("0", "1")


def test_a_vcpu_far_from_the_memory_of_its_guest_node_has_a_warning(boot_ospm: BootOspm, tmp_path: Path) -> None:
    guest = boot_ospm(**MACHINE)
    near = Vcpu(guest, domain_xml(tmp_path, "", "<numatune><memory mode='strict' nodeset='0'/></numatune>"))
    assert near.info()["vcpus"][1]["memory_is_local"] is True
    far = Vcpu(guest, domain_xml(tmp_path, "", "<numatune><memory mode='strict' nodeset='7'/></numatune>"))
    result = far(check=True, count=2)
    assert "may not run on any host node that has the memory of its guest node" in result.warnings
    assert far.info()["vcpus"][1]["memory_is_local"] is False


PLACED = (
    "<vcpupin vcpu='1' cpuset='0'/><vcpupin vcpu='3' cpuset='1'/><vcpupin vcpu='5' cpuset='0-1'/>"
    "<vcpusched vcpus='3' scheduler='batch'/><vcpusched vcpus='5' scheduler='idle'/>"
)


def drift(guest: Contact, vcpu: int, cpus: set[int], policy: int = os.SCHED_OTHER) -> None:
    thread = observer.thread_of(guest.observer, vcpu)
    os.sched_setscheduler(thread, policy, os.sched_param(0))
    os.sched_setaffinity(thread, cpus)


@pytest.mark.parametrize("accel", ACCELERATORS)
def test_plugged_vcpus_and_those_that_drifted_are_placed(boot_ospm: BootOspm, tmp_path: Path, accel: str) -> None:
    guest = boot_ospm(**MACHINE, accel=accel)
    vcpu = Vcpu(guest, domain_xml(tmp_path, PLACED))
    applied = vcpu.converges([0, 1, 3, 5], vcpus=[{"id": "3,5", "state": "enabled"}], scope="live")
    assert applied.steps == ["plug 3 done", "plug 5 done", "place 3 done", "place 5 done", "place 1 done"]
    assert [where(guest, one) for one in (1, 3, 5)] == [("0", "other"), ("1", "batch"), ("0-1", "idle")]
    assert [reported(applied["vcpus"][one]) for one in (1, 3, 5)] == [where(guest, one) for one in (1, 3, 5)]
    drift(guest, 3, {0})
    drift(guest, 1, {0, 1})
    again = vcpu.converges([0, 1, 3, 5], count=4, scope="live")
    assert again.steps == ["place 1 done", "place 3 done"]
    assert [where(guest, one) for one in (1, 3)] == [("0", "other"), ("1", "batch")]
    assert "vCPU 3: live enabled, config disabled, not placed" in again["diff"]["before"]


def test_a_vcpu_that_is_plugged_again_is_placed_again_and_a_reset_keeps_the_placement(
    boot_ospm: BootOspm, tmp_path: Path
) -> None:
    # KVM may refuse a vCPU that has run.
    guest = boot_ospm(**MACHINE, accel="tcg")
    vcpu = Vcpu(guest, domain_xml(tmp_path, PLACED))
    for _round in range(2):
        vcpu.converges([0, 1, 3], vcpus=[{"id": "3", "state": "enabled"}], scope="live")
        assert where(guest, 3) == ("1", "batch")
        guest.observer.execute("system_reset")
        guest.wait_ready()
        assert where(guest, 3) == ("1", "batch")
        vcpu.converges([0, 1], vcpus=[{"id": "3", "state": "disabled"}], scope="live")
    observer.plug(guest.observer, 3)
    assert where(guest, 3)[1] == "other"
    assert vcpu.converges([0, 1, 3], count=3, scope="live").steps == ["place 3 done"]
    assert where(guest, 3) == ("1", "batch")


def test_a_paused_guest_has_its_vcpus_placed_before_it_runs(boot_ospm: BootOspm, tmp_path: Path) -> None:
    guest = boot_ospm(**MACHINE, paused=True)
    vcpu = Vcpu(guest, domain_xml(tmp_path, PLACED))
    vcpu.converges([0, 1, 3], vcpus=[{"id": "3", "state": "enabled"}], scope="live")
    assert where(guest, 3) == ("1", "batch")
    guest.observer.execute("cont")
    guest.wait_ready()
    assert where(guest, 3) == ("1", "batch")


def test_a_real_time_scheduler_is_set_where_the_kernel_permits_it(boot_ospm: BootOspm, tmp_path: Path) -> None:
    guest = boot_ospm(**MACHINE, paused=True)
    fifo = "<vcpusched vcpus='3' scheduler='fifo' priority='2'/>"
    result = Vcpu(guest, domain_xml(tmp_path, fifo))(vcpus=[{"id": "3", "state": "enabled"}], scope="live")
    permitted = where(guest, 3)[1] == "fifo:2"
    assert (result.steps[1], result.get("error_code")) == (
        ("place 3 done", None) if permitted else ("place 3 failed", "placement_failed")
    ), result


UNPLACEABLE = {
    "a host CPU that does not exist": ("<vcpupin vcpu='3' cpuset='1000'/>", "host CPU 1000 is offline"),
    "a quota that is too large for the kernel, or needs a group of version 2 for QEMU alone": (
        "<quota>18446744073709551</quota>",
        "period and quota cannot be set",
    ),
}


@pytest.mark.parametrize(("cputune", "reason"), UNPLACEABLE.values(), ids=UNPLACEABLE)
@pytest.mark.parametrize("rollback", [False, True])
def test_a_vcpu_that_cannot_be_placed_is_an_error_and_unplugged_by_a_rollback(
    boot_ospm: BootOspm, tmp_path: Path, cputune: str, reason: str, rollback: bool
) -> None:
    guest = boot_ospm(**MACHINE)
    xml = domain_xml(tmp_path, cputune)
    result = Vcpu(guest, xml)(
        vcpus=[{"id": "3", "state": "enabled"}], on_failure="rollback" if rollback else "keep", timeout=20
    )
    assert result["error_code"] == "placement_failed"
    assert reason in result["msg"]
    assert observer.enabled_ids(guest.observer) == ([0, 1] if rollback else [0, 1, 3])
    assert result["changed"] is not rollback
    assert [step for step in result.steps if " 3 " in step] == [
        f"plug 3 {'undone' if rollback else 'done'}",
        "place 3 failed",
        "enable 3 skipped",
    ]
    assert "current='2'" in xml.read_text(), "config was changed for a vCPU that is not placed"


def test_verify_places_nothing_and_fails(boot_ospm: BootOspm, tmp_path: Path) -> None:
    guest = boot_ospm(**MACHINE)
    vcpu = Vcpu(guest, domain_xml(tmp_path, "<vcpupin vcpu='1' cpuset='1'/><vcpupin vcpu='3' cpuset='1'/>"))
    refused = vcpu.refuses("placement_failed", count=3, cputune="verify", scope="live")
    assert "vCPU 1: its pin is 0-1, not 1" in refused["msg"]
    drift(guest, 1, {1})
    failed = vcpu(vcpus=[{"id": "3", "state": "enabled"}], cputune="verify", scope="live")
    assert (failed["error_code"], failed.steps) == ("placement_failed", ["plug 3 done", "place 3 failed"])
    assert where(guest, 3)[0] == "0-1"
    ignored = vcpu(count=3, cputune="ignore", scope="live")
    assert (ignored["changed"], ignored.steps) == (False, [])


def test_threads_that_are_not_known_here_are_refused_before_the_plug(boot_ospm: BootOspm, tmp_path: Path) -> None:
    guest = boot_ospm(**MACHINE, tcp_monitor=True)
    vcpu = Vcpu(guest, domain_xml(tmp_path, PLACED))
    vcpu.source["qmp_socket"] = guest.tcp_monitor
    assert "hypervisor itself" in vcpu.refuses("placement_failed", vcpus=[{"id": "3", "state": "enabled"}])["msg"]
    unpinned = vcpu(vcpus=[{"id": "2", "state": "enabled"}], scope="live")
    assert unpinned.steps == ["plug 2 done"]
    assert "it is unknown whether vCPU 1 is where <cputune> says" in unpinned.warnings


def test_libvirt_places_and_what_drifted_is_pinned_again(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(rest=f"<cputune>{PLACED}</cputune>")
    vcpu = Vcpu(guest)
    applied = vcpu.converges([0, 1, 3], vcpus=[{"id": "3", "state": "enabled"}])
    assert applied.steps == ["plug 3 done", "place 3 done", "enable 3 done"]
    assert where(guest, 3) == ("1", "batch")
    os.sched_setaffinity(observer.thread_of(guest.observer, 3), {0})
    assert vcpu.converges([0, 1, 3], count=3).steps == ["place 3 done"]
    assert where(guest, 3) == ("1", "batch")
    drift(guest, 3, {1})
    left = vcpu(count=3)
    assert (left["changed"], left.steps) == (False, [])
    assert "its scheduler is other, not batch" in left.warnings
    assert "its scheduler is other" in vcpu.refuses("placement_failed", count=3, cputune="verify")["msg"]
    assert vcpu.info()["drift"]["placement"] == "3"


def test_vcpus_that_share_one_thread_cannot_be_placed(boot: Boot, tmp_path: Path) -> None:
    guest = boot(**MACHINE, accel="tcg,thread=single", paused=True)
    vcpu = Vcpu(guest, domain_xml(tmp_path, PLACED))
    refused = vcpu.refuses("placement_failed", vcpus=[{"id": "3", "state": "enabled"}], scope="live")
    assert "its vCPUs share one thread" in refused["msg"]
    assert "start QEMU with -accel tcg,thread=multi" in refused["msg"]
    assert observer.enabled_ids(guest.observer) == [0, 1]


def test_a_migrated_guest_has_new_threads_which_the_next_run_places(boot_ospm: BootOspm, tmp_path: Path) -> None:
    source = boot_ospm(**MACHINE)
    xml = domain_xml(tmp_path, PLACED)
    options = {"vcpus": [{"id": "3", "state": "enabled"}], "scope": "live"}
    placed = Vcpu(source, xml)
    placed.converges([0, 1, 3], **options)
    smp, *devices = placed.info()["migration"]["destination_args"][1:]
    there = boot_ospm(smp, incoming=True, extra=devices)
    migrate(source.observer, there.observer, tmp_path / "migration")
    moved = Vcpu(there, xml)
    assert moved.info()["drift"]["placement"] == "1,3"
    assert moved(check=True, **options).steps == ["place 1 planned", "place 3 planned"]
    moved.converges([0, 1, 3], **options)
    assert (where(there, 1), where(there, 3)) == (("0", "other"), ("1", "batch"))
    assert moved.info()["drift"]["placement"] == ""
