# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real Linux guests of other architectures, with the newest QEMU and Linux; only `make matrix-real` runs this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import observer, packages
from lab.guest import Guest

from .conftest import Boot
from .support.modules import Result, Vcpu

NEWEST: dict[str, Any] = {"linux": packages.NEWEST, "agent": True}
# Without a CPU topology for the guest's XML to name, and with the machine's QEMU unknown to libvirt.
SHUT_OFF = """\
<domain type='qemu'>
  <name>lab</name>
  <memory unit='MiB'>512</memory>
  <vcpu current='2'>4</vcpu>
  <os><type arch='{arch}' machine='virt'>hvm</type></os>
</domain>
"""


def with_agent(guest: Guest, domain_xml: Path | None = None) -> Vcpu:
    vcpu = Vcpu(guest, domain_xml)
    vcpu.source["agent_socket"] = guest.agent_socket
    return vcpu


def codes(info: Result, reason: str) -> list[str | None]:
    return [vcpu[reason] and vcpu[reason]["code"] for vcpu in info["vcpus"]]


def offlines_and_onlines(guest: Guest, vcpu: Vcpu, number: int) -> None:
    """Offline a vCPU in the guest and online it again, by the agent."""
    before = observer.guest_cpus(guest)
    for state, cpus in (("disabled", [cpu for cpu in before if cpu != number]), ("enabled", before)):
        result = vcpu(method="agent", vcpus=[{"id": number, "state": state}])
        assert (result.get("msg"), result["changed"]) == (None, True)
        assert observer.guest_cpus(guest) == cpus


def test_s390x_plugs_and_says_that_it_cannot_unplug(boot: Boot) -> None:
    guest = boot(arch="s390x", smp="2,maxcpus=4", memory=512, **NEWEST)
    vcpu = with_agent(guest)
    info = vcpu.info()
    assert codes(info, "can_enable") == [None] * 4
    assert codes(info, "can_disable") == ["not_hotpluggable", "not_hotpluggable", None, None]
    plugged = vcpu.converges([0, 1, 3], enabled="0-1,3", guest_online="verify")
    assert plugged.steps == ["plug 3 done", "online 3 done"]
    assert len(observer.guest_cpus(guest)) == 3
    refused = vcpu.refuses("not_hotpluggable", enabled="0-1")
    assert "s390x machines can plug vCPUs, but not unplug them" in refused["msg"]
    offlines_and_onlines(guest, vcpu, 1)


def test_loongarch64_plugs_and_unplugs_boot_vcpus_too(boot: Boot) -> None:
    smp = "2,sockets=1,cores=4,threads=1,maxcpus=4"
    guest = boot(arch="loongarch64", smp=smp, memory=1024, **NEWEST)
    vcpu = with_agent(guest)
    assert codes(vcpu.info(), "can_disable") == ["not_hotpluggable", None, None, None]
    vcpu.converges([0, 1, 2, 3], enabled="0-3", guest_online="verify")
    assert observer.guest_cpus(guest) == [0, 1, 2, 3]
    unplugged = vcpu.converges([0, 2], enabled="0,2")
    assert [step for step in unplugged.steps if step.startswith("unplug")] == ["unplug 3 done", "unplug 1 done"]
    assert observer.guest_cpus(guest) == [0, 2]


@pytest.mark.parametrize("arch", ["aarch64", "riscv64"])
def test_a_machine_without_cpu_hotplug_is_reported_and_has_a_config(boot: Boot, tmp_path: Path, arch: str) -> None:
    guest = boot(arch=arch, smp="2,maxcpus=4", memory=512, **NEWEST)
    vcpu = with_agent(guest)
    info = vcpu.info()
    assert codes(info, "can_disable")[:2] == ["hotplug_unsupported"] * 2
    assert codes(info, "can_enable")[2:] == ["hotplug_unsupported"] * 2
    refused = vcpu(enabled="0-2")
    assert (refused.get("error_code"), refused["changed"]) == ("hotplug_unsupported", False)
    offlines_and_onlines(guest, vcpu, 1)

    file = tmp_path / "db.xml"
    file.write_text(SHUT_OFF.format(arch=arch), encoding="utf-8")
    both = with_agent(guest, file)
    written = both(scope="config", count=3)
    assert (written.get("msg"), written.steps) == (None, ["enable 2 done"])
    assert both(scope="config", count=3)["changed"] is False
    arguments = both.info()["qemu_args"]
    assert arguments[0] == "-smp"
    next_boot = boot(arch=arch, smp=arguments[1], memory=512, paused=True, boot=False)
    assert len(next_boot.observer.execute("query-cpus-fast")) == 3
