# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vcpu and vcpu_info on a guest's config state: alone, and together with a real running guest."""

from __future__ import annotations

import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from lab import binaries, observer

from .conftest import TWO_NODES, Boot, BootOspm
from .support.modules import Result, Vcpu, run_module, wait_online

DOMAIN = """\
<?xml version='1.0' encoding='UTF-8'?>
<!-- kept as it is -->
<domain type='qemu'>
  <name>lab</name>
  <memory unit='MiB'>256</memory>
  <vcpu placement='static' current='2'>8</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu>
    <topology sockets='4' cores='2' threads='1'/>
    <numa>
      <cell id='0' cpus='0-3' memory='128' unit='MiB'/>
      <cell id='1' cpus='4-7' memory='128' unit='MiB'/>
    </numa>
  </cpu>
</domain>
"""


@pytest.fixture
def domain_xml(tmp_path: Path) -> Path:
    path = tmp_path / "lab.xml"
    path.write_text(DOMAIN, encoding="utf-8")
    return path


def in_file(path: Path) -> list[int]:
    """The enabled ids, as another reader sees them; ``current`` has to agree."""
    root = ET.parse(path).getroot()
    enabled = [int(vcpu.attrib["id"]) for vcpu in root.iterfind("vcpus/vcpu") if vcpu.attrib["enabled"] == "yes"]
    vcpu = root.find("vcpu")
    assert vcpu is not None
    current = int(vcpu.attrib["current"])
    assert not enabled or len(enabled) == current
    return enabled or list(range(current))


def shut_off(domain_xml: Path, check: bool = False, **options: object) -> Result:
    return run_module("kvm.hotplug.vcpu", check, domain_xml=str(domain_xml), **options)


def test_a_guest_that_is_shut_off_is_changed_for_its_next_boot(domain_xml: Path) -> None:
    desired = {"nodes": [{"id": "1", "count": 2}]}
    predicted = shut_off(domain_xml, check=True, **desired)
    assert domain_xml.read_text(encoding="utf-8") == DOMAIN, "check mode wrote"
    applied = shut_off(domain_xml, **desired)
    assert (predicted["changed"], applied["changed"]) == (True, True)
    assert applied.steps == ["enable 4 done", "enable 5 done"]
    assert predicted.enabled("config") == applied.enabled("config") == in_file(domain_xml) == [0, 1, 4, 5]
    assert predicted.diff == applied.diff
    for check in (True, False):
        again = shut_off(domain_xml, check=check, **desired)
        assert (again["changed"], again.steps) == (False, [])


def test_a_backup_contains_the_old_file(domain_xml: Path) -> None:
    result = shut_off(domain_xml, count=3, backup=True)
    assert Path(result["backup_file"]).read_text(encoding="utf-8") == DOMAIN
    assert "backup_file" not in shut_off(domain_xml, count=3, backup=True)


def test_the_rfcs_dialect_is_preserved_with_the_requested_detail(domain_xml: Path) -> None:
    states = "".join(f"    <vcpu id='{vcpu}' state='{'en' if vcpu < 2 else 'dis'}abled'/>\n" for vcpu in range(8))
    rfc = DOMAIN.replace("8</vcpu>\n", f"8</vcpu>\n  <vcpus>\n{states}  </vcpus>\n").replace(
        "  <os>", "  <cputune><vcpupin vcpu='5' cpuset='1-2'/></cputune>\n  <os>"
    )
    domain_xml.write_text(rfc, encoding="utf-8")
    desired = {"vcpus": [{"id": "5", "state": "enabled"}], "xml_detail": "full"}
    assert shut_off(domain_xml, check=True, **desired)["changed"]
    assert domain_xml.read_text(encoding="utf-8") == rfc
    assert shut_off(domain_xml, **desired)["changed"]
    assert "<vcpu id='5' state='enabled' cell='1' pin='1-2'/>" in domain_xml.read_text(encoding="utf-8")
    assert [shut_off(domain_xml, check=check, **desired)["changed"] for check in (True, False)] == [False, False]


def test_vcpus_on_a_node_without_memory_need_force(domain_xml: Path) -> None:
    domain_xml.write_text(DOMAIN.replace("cpus='4-7' memory='128'", "cpus='4-7' memory='0'"), encoding="utf-8")
    desired = {"nodes": [{"id": "1", "count": 1}]}
    assert shut_off(domain_xml, **desired)["error_code"] == "config_invalid"
    forced = [
        shut_off(domain_xml, check=check, force=True, **desired)["changed"] for check in (True, False, True, False)
    ]
    assert forced == [True, True, False, False]
    assert in_file(domain_xml) == [0, 1, 4]


def test_a_machine_that_cannot_be_derived_is_probed_unless_forbidden(domain_xml: Path) -> None:
    domain_xml.write_text(DOMAIN, encoding="utf-8")
    qemu = binaries.default()
    emulator = domain_xml.parent / "qemu"
    arguments = " ".join(shlex.quote(word) for word in qemu.command)
    libraries = qemu.environment.get("LD_LIBRARY_PATH", "")
    emulator.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {arguments} "$@"\n', encoding="utf-8")
    emulator.chmod(0o755)
    asked = run_module("kvm.hotplug.vcpu_info", domain_xml=str(domain_xml), probe="always", emulator=str(emulator))
    derived = run_module("kvm.hotplug.vcpu_info", domain_xml=str(domain_xml), probe="never")
    assert asked["guests"] == derived["guests"]
    domain_xml.write_text(DOMAIN.replace("machine='q35'", "machine='x-remote'"), encoding="utf-8")
    assert (
        run_module("kvm.hotplug.vcpu_info", domain_xml=str(domain_xml), probe="never")["error_code"] == "config_invalid"
    )


@pytest.mark.parametrize("module", ["kvm.hotplug.vcpu_info", "kvm.hotplug.vcpu"])
def test_an_emulator_named_by_a_file_that_others_may_write_is_not_started(domain_xml: Path, module: str) -> None:
    started, emulator = domain_xml.parent / "started", domain_xml.parent / "qemu"
    emulator.write_text(f"#!/bin/sh\necho $$ >> {started}\nexit 1\n", encoding="utf-8")
    emulator.chmod(0o755)
    xml = DOMAIN.replace("machine='q35'", "machine='x-remote'").replace(
        "</cpu>", f"</cpu>\n  <devices><emulator>{emulator}</emulator></devices>"
    )
    domain_xml.write_text(xml, encoding="utf-8")
    desired = {"count": 3} if module == "kvm.hotplug.vcpu" else {}
    domain_xml.chmod(0o666)
    for check in (True, False):
        refused = run_module(module, check, domain_xml=str(domain_xml), **desired)
        assert refused["error_code"] == "config_invalid"
        assert f"{domain_xml} may be written by its group" in refused["msg"]
        assert not started.exists()
    domain_xml.chmod(0o644)
    assert run_module(module, True, domain_xml=str(domain_xml), **desired)["error_code"] == "backend_missing"
    assert started.exists()


def test_the_config_of_another_guest_is_refused_and_named(boot: Boot, domain_xml: Path) -> None:
    guest = boot(**TWO_NODES, boot=False, paused=True)
    vcpu = Vcpu(guest, domain_xml)
    assert vcpu.info()["guest"]["name"] == "lab"
    for named, other, what in (
        ("<name>lab</name>", "<name>web2</name>", "its name is web2, that of the running guest is lab"),
        ("machine='q35'", "machine='pc-i440fx-7.2'", "its machine type is pc-i440fx-7.2"),
        ("arch='x86_64' machine='q35'", "arch='ppc64' machine='pseries'", "its architecture is ppc64"),
    ):
        xml = DOMAIN.replace(named, other)
        domain_xml.write_text(xml, encoding="utf-8")
        assert what in vcpu.refuses("config_invalid", count=4)["msg"]
        assert domain_xml.read_text(encoding="utf-8") == xml


def test_a_running_guest_whose_socket_was_removed_is_not_changed_as_one_that_is_shut_off(
    boot: Boot, domain_xml: Path
) -> None:
    guest = boot(**TWO_NODES, boot=False, paused=True)
    Path(guest.qmp_socket).unlink()
    vcpu = Vcpu(guest, domain_xml)
    refused = vcpu.refuses("monitor_unreachable", count=4)
    assert "the guest still runs" in refused["msg"]
    assert domain_xml.read_text(encoding="utf-8") == DOMAIN
    assert shut_off(domain_xml, check=True, count=4)["changed"], "the file alone is the next boot's"


def test_live_and_config_converge_and_drift_is_fixed(boot_ospm: BootOspm, domain_xml: Path) -> None:
    guest = boot_ospm(**TWO_NODES)
    vcpu = Vcpu(guest, domain_xml)
    assert vcpu(vcpus=[{"id": "6", "state": "enabled"}], scope="live")["changed"]
    assert vcpu.info()["drift"]["config"] == "6"
    result = vcpu.converges([0, 1, 2, 6], count=4)
    assert result.enabled("config") == in_file(domain_xml) == [0, 1, 2, 6]
    assert result.steps == ["plug 2 done", "enable 2 done", "enable 6 done"]
    assert vcpu.info()["drift"]["config"] == ""


def test_scope_config_does_not_change_the_running_guest(boot: Boot, domain_xml: Path) -> None:
    guest = boot(**TWO_NODES, paused=True)
    result = Vcpu(guest, domain_xml)(count=5, scope="config")
    assert result.steps == ["enable 2 done", "enable 3 done", "enable 4 done"]
    assert (observer.enabled_ids(guest.observer), in_file(domain_xml)) == ([0, 1], [0, 1, 2, 3, 4])


def test_config_keeps_a_vcpu_whose_unplug_is_refused(boot_ospm: BootOspm, domain_xml: Path) -> None:
    shut_off(domain_xml, count=4)
    guest = boot_ospm(**{**TWO_NODES, "smp": "4,sockets=4,cores=2,threads=1,maxcpus=8"})
    guest.ospm.refuse(2)
    result = Vcpu(guest, domain_xml)(count=2, timeout=3)
    assert result["error_code"] == "unplug_refused"
    assert result.steps == ["unplug 3 done", "unplug 2 refused", "disable 3 done", "disable 2 skipped"]
    assert observer.enabled_ids(guest.observer) == in_file(domain_xml) == result.enabled("config") == [0, 1, 2]


def test_a_guest_whose_monitor_has_no_listener_is_shut_off(boot: Boot, domain_xml: Path) -> None:
    guest = boot(**TWO_NODES, paused=True)
    guest.kill()
    vcpu = Vcpu(guest, domain_xml)
    result = vcpu(count=3)
    assert (result["guest"]["state"], result.steps) == ("shutoff", ["enable 2 done"])
    assert vcpu(count=2, scope="live")["error_code"] == "guest_not_running"


def test_the_arguments_boot_the_config_state_and_more_can_be_plugged(boot: Boot, domain_xml: Path) -> None:
    shut_off(domain_xml, vcpus=[{"id": "0,3,6", "state": "enabled"}], exclusive=True)
    info = run_module("kvm.hotplug.vcpu_info", domain_xml=str(domain_xml))["guests"][0]
    assert info["migration"]["feature"] == "sparse-vcpus"
    smp, *rest = info["qemu_args"][1:]
    guest = boot(smp=smp, extra=rest)
    assert observer.enabled_ids(guest.observer) == [0, 3, 6]
    wait_online(guest, 3)
    Vcpu(guest, domain_xml).converges([0, 3, 4, 6], nodes=[{"id": "1", "count": 2}])
    wait_online(guest, 4)
    assert in_file(domain_xml) == [0, 3, 4, 6]


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        (DOMAIN.replace("</domain>", ""), "line"),
        (DOMAIN.replace("sockets='4'", "sockets='3'"), "3 sockets"),
        (DOMAIN.replace("<domain", "<!DOCTYPE d [<!ENTITY a 'b'>]><domain"), "line 3"),
    ],
)
def test_an_invalid_file_is_not_changed(domain_xml: Path, spoiled: str, said: str) -> None:
    domain_xml.write_text(spoiled, encoding="utf-8")
    result = shut_off(domain_xml, count=3)
    assert (result["error_code"], result["changed"], said in result["msg"]) == ("config_invalid", False, True), result
    assert domain_xml.read_text(encoding="utf-8") == spoiled


def test_the_file_of_another_machine_is_refused(boot: Boot, domain_xml: Path) -> None:
    guest = boot(smp="2,maxcpus=8", machine="pc", paused=True)
    assert Vcpu(guest, domain_xml)(count=3)["error_code"] == "config_invalid"
    assert (observer.enabled_ids(guest.observer), in_file(domain_xml)) == ([0, 1], [0, 1])


def test_a_file_with_another_maximum_is_managed_with_a_warning(boot: Boot, domain_xml: Path) -> None:
    guest = boot(smp="2,maxcpus=4", paused=True)
    result = Vcpu(guest, domain_xml)(vcpus=[{"id": "2", "state": "enabled"}], guest_online="ignore")
    assert "the config has 8 vCPUs at most, the running guest 4" in result.warnings
    assert result.steps == ["plug 2 done", "enable 2 done"]
    assert (observer.enabled_ids(guest.observer), in_file(domain_xml)) == ([0, 1, 2], [0, 1, 2])
