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

from .conftest import BootOspm, OspmDomains
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
