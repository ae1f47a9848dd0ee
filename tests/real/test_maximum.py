# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another maximum of libvirt guests, and of files that QEMU is started with."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from lab import observer
from lab.contact import Contact

from .conftest import SHUT_OFF, TWO_CELLS, Boot, OspmDomains
from .support.modules import Vcpu, run_module
from .test_boot_vcpus import converges

TUNED = """<cputune><vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='5' cpuset='0'/>
<vcpusched vcpus='4-7' scheduler='batch'/></cputune>"""


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    # Only newer versions of libvirt write the clusters.
    lines = (line.replace(" clusters='1'", "") for line in lines)
    return [line[0] + line[1:].strip() for line in lines if line[0] in "+-" and not line.startswith(("---", "+++"))]


def slots(guest: Contact) -> int:
    """The number of slots that QEMU itself has."""
    return len(guest.observer.execute("query-hotpluggable-cpus"))


def test_a_running_guest_with_sockets_and_nodes_has_more_vcpus_from_its_next_start_on(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(**TWO_CELLS, memory=128, rest=TUNED)
    vcpu = Vcpu(guest)
    before = guest.xml(inactive=True)
    unreachable = vcpu.refuses("count_unreachable", maximum=11)
    assert "set 10 or 12" in unreachable["msg"]
    applied = converges(vcpu, maximum=12)
    assert applied.steps == ["add 8-11 done"]
    assert (applied["headroom"], applied["guest"]["max_vcpus"]) == ({"live": 6, "config": 10}, 8)
    assert changed_lines(before, guest.xml(inactive=True)) == [
        "-<vcpu placement='static' current='2'>8</vcpu>",
        "+<vcpu placement='static' current='2'>12</vcpu>",
        "-<topology sockets='4' dies='1' cores='2' threads='1'/>",
        "+<topology sockets='6' dies='1' cores='2' threads='1'/>",
        "-<cell id='0' cpus='0-3' memory='65536' unit='KiB'/>",
        "-<cell id='1' cpus='4-7' memory='65536' unit='KiB'/>",
        "+<cell id='0' cpus='0-3,8-9' memory='65536' unit='KiB'/>",
        "+<cell id='1' cpus='4-7,10-11' memory='65536' unit='KiB'/>",
    ]
    # Until then both states are managed, the running guest within its own maximum.
    plugged = vcpu.converges([0, 1, 4], vcpus=[{"id": "4", "state": "enabled"}])
    assert plugged.steps == ["plug 4 done", "place 4 done", "enable 4 done"]
    vcpu.refuses("unknown_vcpu", vcpus=[{"id": "10", "state": "enabled"}])
    later = converges(vcpu, vcpus=[{"id": "10", "state": "enabled"}], scope="config")
    assert later.enabled("config") == [0, 1, 4, 10]

    guest.destroy()
    guest.start()
    guest.wait_ready()
    assert (observer.enabled_ids(guest.observer), slots(guest)) == ([0, 1, 4, 10], 12)
    vcpu.converges([0, 1, 4, 8, 10], vcpus=[{"id": "8", "state": "enabled"}])
    assert vcpu.info()["headroom"] == {"live": 7, "config": 7}


def test_a_lower_maximum_removes_what_is_above_it_and_libvirt_starts_the_guest(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(**TWO_CELLS, memory=128, rest=TUNED, start=False, vcpus="<vcpu>8</vcpu>")
    vcpu = Vcpu(guest)
    assert "vCPU 6-7 is enabled" in vcpu(maximum=6)["msg"]
    applied = converges(vcpu, maximum=4, count=2)
    assert applied.steps == [*(f"disable {vcpu} done" for vcpu in range(7, 1, -1)), "remove 4-7 done"]
    xml = guest.xml(inactive=True)
    assert "vcpupin vcpu='0'" in xml
    assert "vcpupin vcpu='5'" not in xml
    assert "vcpusched" not in xml
    guest.start()
    guest.wait_ready()
    assert (observer.enabled_ids(guest.observer), slots(guest)) == ([0, 1], 4)


def test_without_topology_and_nodes_the_domain_is_not_defined_again(oldest_ospm_domain: OspmDomains) -> None:
    guest = oldest_ospm_domain(vcpus="<vcpu current='2'>4</vcpu>", start=False)
    vcpu = Vcpu(guest)
    assert converges(vcpu, maximum=7, enabled="0,1,6").steps == ["add 4-6 done", "enable 6 done"]
    guest.start()
    guest.wait_ready()
    assert (observer.enabled_ids(guest.observer), slots(guest)) == ([0, 1, 6], 7)
    guest.destroy()
    before = guest.xml(inactive=True)
    assert converges(vcpu, maximum=4, enabled="0-1").steps == ["disable 6 done", "remove 4-6 done"]
    found = changed_lines(before, guest.xml(inactive=True))
    assert "+<vcpu placement='static' current='2'>4</vcpu>" in found
    assert [line for line in found if "vcpu" not in line] == []


@pytest.mark.parametrize("cells", ["", "<numa><cell id='0' cpus='0-3' memory='64' unit='MiB'/>"])
def test_a_qemu_starts_with_the_arguments_of_a_file_with_another_maximum(
    boot: Boot, tmp_path: Path, cells: str
) -> None:
    file = tmp_path / "guest.xml"
    numa = cells and cells + "<cell id='1' cpus='4-7' memory='64' unit='MiB'/></numa>"
    text = SHUT_OFF.replace("</cpu>", f"{numa}</cpu>").replace("unit='MiB'>256", "unit='MiB'>128")
    file.write_text(text, encoding="utf-8")
    options = {"domain_xml": str(file), "maximum": 12, "enabled": "0,1,9"}
    assert run_module("kvm.hotplug.vcpu", check=True, **options).steps == ["add 8-11 planned", "enable 9 planned"]
    assert file.read_text(encoding="utf-8") == text
    assert run_module("kvm.hotplug.vcpu", **options).steps == ["add 8-11 done", "enable 9 done"]
    assert run_module("kvm.hotplug.vcpu", **options)["changed"] is False
    (info,) = run_module("kvm.hotplug.vcpu_info", domain_xml=str(file))["guests"]
    assert info["headroom"] == {"live": None, "config": 9}
    smp, *rest = info["qemu_args"][1:]
    guest = boot(smp, boot=False, paused=True, extra=rest, memory=128)
    assert (observer.enabled_ids(guest.observer), slots(guest)) == ([0, 1, 9], 12)
    listed = guest.observer.execute("query-hotpluggable-cpus")
    nodes = [slot["props"].get("node-id") for slot in reversed(listed)]
    assert nodes == ([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1] if cells else [None] * 12)
