# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""boot_vcpus: boot vCPUs that libvirt could not unplug can be unplugged after the next boot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lab import observer
from lab.domains import LibvirtGuest
from lab.guest import Guest

from .conftest import Boot, OspmDomains, needs_ppc64
from .support.modules import Result, Vcpu, run_module

THREE_OF_FOUR = "<vcpu current='3'>4</vcpu>"
FREED = ["enable 1 done", "enable 2 done"]


def fixed(xml: str) -> list[int]:
    """The enabled vCPUs that libvirt's XML calls not hotpluggable."""
    return [int(vcpu) for vcpu in re.findall(r"<vcpu id='(\d+)' enabled='yes' hotpluggable='no'", xml)]


def plugged(guest: Any) -> list[str]:
    """The ids of the CPU devices that QEMU was started with or got later, of QEMU's own word."""
    paths = [slot.get("qom-path", "") for slot in guest.observer.execute("query-hotpluggable-cpus")]
    return sorted(path.rpartition("/")[2] for path in paths if path.startswith("/machine/peripheral/"))


def converges(vcpu: Vcpu, **options: Any) -> Result:
    """Check, apply, check and apply again; only the definition may change. Return what was applied."""
    assert isinstance(vcpu.guest, LibvirtGuest)
    before = vcpu.guest.xml(inactive=True)
    predicted = vcpu(check=True, **options)
    assert vcpu.guest.xml(inactive=True) == before, "check mode changed the definition"
    applied = vcpu(**options)
    assert (predicted["changed"], applied["changed"]) == (True, True), applied
    assert applied.steps == [step.replace("planned", "done") for step in predicted.steps]
    assert predicted.diff == applied.diff != ""
    for again in (vcpu(check=True, **options), vcpu(**options)):
        assert (again["changed"], again.steps, again.diff) == (False, [], "")
    return applied


def test_a_former_boot_vcpu_is_unplugged_by_libvirt_after_the_next_start(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(vcpus=THREE_OF_FOUR)
    vcpu = Vcpu(guest)
    refused = vcpu.refuses("not_hotpluggable", vcpus=[{"id": "1", "state": "disabled"}])
    assert "boot_vcpus: hotpluggable" in refused["msg"]
    defined = guest.xml(inactive=True)
    both: dict[str, Any] = {"boot_vcpus": "hotpluggable", "vcpus": [{"id": "1", "state": "disabled"}]}
    prevented = vcpu.refuses("not_hotpluggable", **both)
    assert "with scope config it sets boot_vcpus" in prevented["msg"]
    assert guest.xml(inactive=True) == defined
    assert converges(vcpu, **both, scope="config").steps == ["enable 2 done", "disable 1 done"]
    guest.define(defined)
    applied = converges(vcpu, boot_vcpus="hotpluggable")
    assert applied.steps == FREED
    assert fixed(guest.xml(inactive=True)) == [0]
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]
    assert plugged(guest) == []
    vcpu.refuses("not_hotpluggable", vcpus=[{"id": "1", "state": "disabled"}])

    guest.destroy()
    smp, *devices = [word for word in vcpu.info()["qemu_args"] if not word.startswith("-")]
    guest.start()
    guest.wait_ready()
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]
    assert plugged(guest) == ["vcpu1", "vcpu2"] == [device.split("id=")[1].split(",")[0] for device in devices]
    assert smp.startswith("cpus=1,")
    gone = vcpu.converges([0, 2], vcpus=[{"id": "1", "state": "disabled"}])
    assert gone.steps == ["unplug 1 done", "disable 1 done"]
    # It ran no code, which libvirt may not know.
    vcpu.converges([0, 1, 2], vcpus=[{"id": "1", "state": "enabled"}], force=True)


def test_with_a_desired_state_for_the_next_boot_both_are_defined_at_once(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(vcpus="<vcpu>4</vcpu>", start=False)
    vcpu = Vcpu(guest)
    applied = converges(vcpu, boot_vcpus="hotpluggable", vcpus=[{"id": "1", "state": "disabled"}])
    assert applied.steps == ["enable 2 done", "enable 3 done", "disable 1 done"]
    assert fixed(guest.xml(inactive=True)) == [0]
    guest.start()
    guest.wait_ready()
    assert observer.enabled_ids(guest.observer) == [0, 2, 3]
    assert plugged(guest) == ["vcpu2", "vcpu3"]


def test_a_file_is_written_that_libvirt_defines_and_starts(ospm_domain: OspmDomains, tmp_path: Path) -> None:
    guest = ospm_domain(vcpus=THREE_OF_FOUR, start=False)
    file = tmp_path / "guest.xml"
    file.write_text(guest.description, encoding="utf-8")
    applied = run_module("kvm.hotplug.vcpu", domain_xml=str(file), boot_vcpus="hotpluggable")
    assert (applied["changed"], applied.steps) == (True, FREED)
    guest.define(file.read_text(encoding="utf-8"))
    assert fixed(guest.xml(inactive=True)) == [0]
    guest.start()
    guest.wait_ready()
    assert plugged(guest) == ["vcpu1", "vcpu2"]
    Vcpu(guest).converges([0, 1], count=2)


def test_a_domain_without_cpu_hotplug_keeps_its_definition(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(vcpus=THREE_OF_FOUR, machine="microvm", boot=False, shell=False, start=False)
    before = guest.xml(inactive=True)
    for check in (True, False):
        refused = Vcpu(guest)(check=check, boot_vcpus="hotpluggable")
        assert (refused["error_code"], refused["changed"]) == ("hotplug_unsupported", False)
    assert guest.xml(inactive=True) == before


def test_a_qemu_started_with_the_arguments_of_a_file_has_devices_for_them(boot: Boot, tmp_path: Path) -> None:
    file = tmp_path / "guest.xml"
    file.write_text(
        f"<domain type='qemu'><name>db</name>{THREE_OF_FOUR}<os><type arch='x86_64' machine='q35'>hvm</type></os>"
        "<cpu><topology sockets='4' cores='1' threads='1'/></cpu></domain>",
        encoding="utf-8",
    )
    guest = started_anew(boot, file, FREED)
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]
    assert plugged(guest) == ["vcpu1", "vcpu2"]


@needs_ppc64
def test_all_cores_of_pseries_but_the_first_become_devices(boot: Boot, tmp_path: Path) -> None:
    file = tmp_path / "guest.xml"
    file.write_text(
        "<domain type='qemu'><name>db</name><vcpu current='6'>8</vcpu>"
        "<os><type arch='ppc64' machine='pseries'>hvm</type></os>"
        "<cpu><model>power9_v2.2</model><topology sockets='1' cores='4' threads='2'/></cpu></domain>",
        encoding="utf-8",
    )
    guest = started_anew(boot, file, ["enable 2-3 done", "enable 4-5 done"], arch="ppc64", cpu="power9_v2.2")
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3, 4, 5]
    assert plugged(guest) == ["vcpu2", "vcpu4"]


def started_anew(boot: Boot, file: Path, steps: list[str], **options: Any) -> Guest:
    """Make the boot vCPUs of a file hotpluggable, and start QEMU with its arguments."""
    applied = run_module("kvm.hotplug.vcpu", domain_xml=str(file), boot_vcpus="hotpluggable")
    assert (applied["changed"], applied.steps) == (True, steps), applied
    assert run_module("kvm.hotplug.vcpu", domain_xml=str(file), boot_vcpus="hotpluggable")["changed"] is False
    (info,) = run_module("kvm.hotplug.vcpu_info", domain_xml=str(file))["guests"]
    smp, *rest = info["qemu_args"][1:]
    return boot(smp, boot=False, paused=True, extra=rest, **options)
