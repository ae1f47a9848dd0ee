# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vcpu on guests of a real libvirt, checked by QEMU itself, by virsh, and by the guest OS where that is a Linux."""

from __future__ import annotations

import re

import pytest

from lab import observer
from lab.domains import LibvirtGuest

from .conftest import TWO_CELLS, Domains, OspmDomains
from .support.modules import Vcpu, wait_online
from .support.tasks import VcpuTask

# vCPUs 1, 2 and 5 can go again: the guest booted on 0 only.
HOTPLUGGABLE = (
    "<vcpu current='4'>8</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/>"
    + "".join(
        f"<vcpu id='{vcpu}' enabled='{'yes' if vcpu in (1, 2, 5) else 'no'}' hotpluggable='yes'/>"
        for vcpu in range(1, 8)
    )
    + "</vcpus>"
)


def libvirts(guest: LibvirtGuest, inactive: bool = False) -> list[int]:
    """The vCPUs that libvirt's own XML has enabled."""
    xml = guest.xml(inactive)
    listed = re.findall(r"<vcpu id='(\d+)' enabled='yes'", xml)
    if "<vcpus>" in xml:
        return [int(vcpu) for vcpu in listed]
    count = re.search(r"<vcpu[^>]*?(?:current='(\d+)')?>(\d+)</vcpu>", xml)
    assert count is not None
    return list(range(int(count.group(1) or count.group(2))))


def tainted(guest: LibvirtGuest) -> bool:
    """Whether libvirt holds a command of a monitor against the guest."""
    return "custom monitor" in guest.virsh("dominfo")


def test_ids_by_plug_live_and_in_config(domain: Domains) -> None:
    guest = domain(**TWO_CELLS)
    applied = Vcpu(guest).converges([0, 1, 5, 6], vcpus=[{"id": "5-6", "state": "enabled"}])
    assert applied.steps == ["plug 5 done", "plug 6 done", "enable 5 done", "enable 6 done"]
    assert libvirts(guest) == libvirts(guest, inactive=True) == applied.enabled("config") == [0, 1, 5, 6]
    wait_online(guest, 4)
    assert {node: len(cpus) for node, cpus in observer.guest_nodes(guest).items()} == {0: 2, 1: 2}
    assert not tainted(guest)
    info = Vcpu(guest).info()
    assert info["drift"] == {"config": "", "libvirt": "", "placement": ""}
    assert info["guest"]["name"] == guest.name
    assert info["guest"]["uuid"] == guest.uuid
    assert info["sparse"] == {"live": True, "config": True}


def test_a_vcpu_enabled_in_config_can_be_unplugged_after_the_next_boot(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(vcpus="<vcpu current='2'>4</vcpu>", start=False)
    vcpu = Vcpu(guest)
    enabled = vcpu(vcpus=[{"id": "3", "state": "enabled"}])
    assert (enabled["changed"], enabled.steps) == (True, ["enable 3 done"])
    assert vcpu(vcpus=[{"id": "3", "state": "enabled"}])["changed"] is False
    guest.start()
    guest.wait_ready()
    assert observer.enabled_ids(guest.observer) == [0, 1, 3]
    blocked = vcpu.refuses("not_hotpluggable", vcpus=[{"id": "1", "state": "disabled"}])
    assert "boot_vcpus: hotpluggable" in blocked["msg"]
    vcpu.converges([0, 1], vcpus=[{"id": "3", "state": "disabled"}])


@pytest.mark.parametrize(
    ("desired", "wanted"),
    [
        ({"nodes": [{"id": "1", "count": 3}]}, [0, 1, 2, 4, 5, 6]),
        ({"nodes": [{"id": "0", "state": "enabled"}]}, [0, 1, 2, 3, 5]),
        ({"count": 6, "placement": "spread"}, [0, 1, 2, 4, 5, 6]),
        ({"count": 2}, [0, 1]),
        ({"vcpus": [{"id": "0,3", "state": "enabled"}], "exclusive": True}, [0, 3]),
    ],
    ids=str,
)
def test_every_kind_of_desired_state(
    newest_ospm_domain: OspmDomains, desired: dict[str, object], wanted: list[int]
) -> None:
    guest = newest_ospm_domain(**{**TWO_CELLS, "vcpus": HOTPLUGGABLE})
    applied = VcpuTask(guest).converges(wanted, **desired)
    assert applied.enabled("config") == libvirts(guest, inactive=True) == wanted
    assert not tainted(guest)


def test_core_granularity_takes_whole_cores(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(vcpus="<vcpu current='2'>8</vcpu>", topology={"sockets": 2, "cores": 2, "threads": 2})
    vcpu = Vcpu(guest)
    vcpu.converges([0, 1, 4, 5], granularity="core", vcpus=[{"id": "4", "state": "enabled"}])


def test_each_scope_changes_only_its_states(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain()
    vcpu = Vcpu(guest)
    vcpu.converges([0, 1, 2], vcpus=[{"id": "2", "state": "enabled"}], scope="live")
    assert libvirts(guest, inactive=True) == [0, 1]
    config = vcpu(vcpus=[{"id": "3", "state": "enabled"}], scope="config")
    assert (config["changed"], config.steps) == (True, ["enable 3 done"])
    assert libvirts(guest, inactive=True) == [0, 1, 3]
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]
    assert vcpu.info()["drift"]["config"] == "2-3"
    vcpu.converges([0, 1, 2, 3], count=4, scope="current")
    assert libvirts(guest, inactive=True) == [0, 1, 3]


def test_a_transient_guest_has_no_config(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(transient=True)
    vcpu = Vcpu(guest)
    applied = vcpu.converges([0, 1, 2], count=3)
    assert {told["config"] for told in applied["vcpus"]} == {None}
    vcpu.refuses("conflicting_request", count=4, scope="config")


def test_a_guest_that_is_shut_off_has_no_live_state(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(vcpus="<vcpu current='4'>8</vcpu>", start=False)
    vcpu = Vcpu(guest)
    for check in (True, False):
        refused = vcpu(check=check, count=2, scope="live")
        assert (refused["error_code"], refused["changed"]) == ("guest_not_running", False)
    # libvirt lets none of the boot vCPUs go that another of them follows: those are made hotpluggable first.
    desired = {"vcpus": [{"id": "1", "state": "disabled"}, {"id": "6", "state": "enabled"}]}
    predicted = vcpu(check=True, **desired)
    assert libvirts(guest, inactive=True) == [0, 1, 2, 3]
    applied = vcpu(**desired)
    assert predicted.enabled("config") == applied.enabled("config") == libvirts(guest, inactive=True) == [0, 2, 3, 6]
    assert (applied["changed"], vcpu(**desired)["changed"], vcpu(check=True, **desired)["changed"]) == (
        True,
        False,
        False,
    )
    assert {told["live"] for told in applied["vcpus"]} == {None}
    guest.start()
    guest.wait_ready()
    assert observer.enabled_ids(guest.observer) == [0, 2, 3, 6]


def test_a_guest_is_found_by_uuid_and_id_too(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain()
    vcpu = Vcpu(guest)
    for name in (guest.uuid, guest.virsh("domid").strip()):
        assert vcpu(name=name, count=2)["guest"]["name"] == guest.name


def test_check_mode_and_info_need_only_a_read_only_connection(ospm_domain: OspmDomains) -> None:
    # A session daemon has no read-only socket; that the connection itself is read-only is seen in the daemon's answer.
    guest = ospm_domain()
    vcpu = Vcpu(guest)
    assert vcpu(check=True, count=4)["changed"] is True
    assert libvirts(guest) == libvirts(guest, inactive=True) == observer.enabled_ids(guest.observer) == [0, 1]


def test_ask_qemu_taints_the_guest(ospm_domain: OspmDomains) -> None:
    # Under TCG, QEMU does not report to libvirt that a vCPU was removed.
    guest = ospm_domain(vcpus=HOTPLUGGABLE, accel="tcg", as_kvm=False)
    vcpu = Vcpu(guest)
    assert not tainted(guest)
    info = vcpu.info(ask_qemu=True)
    assert tainted(guest)
    assert {told["id"]: told["alias"] for told in info["vcpus"] if told["alias"]} == {
        1: "vcpu1",
        2: "vcpu2",
        5: "vcpu5",
    }
    applied = vcpu.converges(
        [0, 1, 2, 3], vcpus=[{"id": "3", "state": "enabled"}, {"id": "5", "state": "disabled"}], ask_qemu=True
    )
    assert applied.steps[:2] == ["plug 3 done", "unplug 5 done"]
    assert vcpu.info(ask_qemu=True)["drift"]["libvirt"] == vcpu.info()["drift"]["libvirt"] == "5"
