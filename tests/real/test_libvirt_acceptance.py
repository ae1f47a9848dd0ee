# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The behaviour that libvirt's public acceptance tests require for vCPUs; docs/acceptance.md has the table."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lab import LabError, observer
from lab.daemon import Daemon
from lab.domains import LibvirtGuest

from .conftest import Domains, OspmDomains
from .support.modules import Result, Vcpu, wait_online
from .test_libvirt_guests import libvirts


def vcpus(maximum: int, enabled: Mapping[int, int]) -> str:
    """A domain's vCPUs, all but 0 hotpluggable; ``enabled`` has the orders of those that are enabled."""
    elements = []
    for vcpu in range(maximum):
        order = f" order='{enabled[vcpu]}'" if vcpu in enabled else ""
        said = f"enabled='{'yes' if vcpu in enabled else 'no'}' hotpluggable='{'yes' if vcpu else 'no'}'"
        elements.append(f"<vcpu id='{vcpu}' {said}{order}/>")
    return f"<vcpu current='{len(enabled)}'>{maximum}</vcpu><vcpus>{''.join(elements)}</vcpus>"


def enable(ids: str) -> dict[str, Any]:
    return {"vcpus": [{"id": ids, "state": "enabled"}]}


def disable(ids: str) -> dict[str, Any]:
    return {"vcpus": [{"id": ids, "state": "disabled"}]}


def nothing_to_do(vcpu: Vcpu, **options: Any) -> None:
    """Expect that a task finds its desired state fulfilled, in check mode too."""
    for check in (True, False):
        result = vcpu(check=check, **options)
        assert (result["changed"], result.steps) == (False, []), result


def orders(guest: LibvirtGuest) -> dict[int, int]:
    """The order attributes in libvirt's XML, by vCPU id."""
    return {int(vcpu): int(order) for vcpu, order in re.findall(r"<vcpu id='(\d+)'[^>]* order='(\d+)'", guest.xml())}


def order_returned(result: Result) -> dict[int, int]:
    """The order attributes in a result, by vCPU id."""
    return {told["id"]: told["order"] for told in result["vcpus"] if told["order"]}


def cpus_allowed(thread: int) -> str:
    """The CPUs of a thread, in the kernel's own words."""
    return re.findall(r"^Cpus_allowed_list:\t(.+)$", Path(f"/proc/{thread}/status").read_text(), re.MULTILINE)[0]


def counts(guest: LibvirtGuest) -> dict[str, int]:
    """What virsh vcpucount says."""
    found = re.findall(r"^(\w+) +(\w+) +(\d+)$", guest.virsh("vcpucount"), re.MULTILINE)
    return {f"{kind} {state}": int(number) for kind, state, number in found}


def test_vcpus_survive_resets_a_pause_and_a_restart_of_the_daemon(newest_ospm_domain: OspmDomains) -> None:
    guest = newest_ospm_domain()
    vcpu = Vcpu(guest)
    desired = enable("3,6")
    vcpu.converges([0, 1, 3, 6], **desired, scope="live")
    for from_within in (False, True):
        seen, since = len(guest.observer.events), len(guest.ospm.facts)
        if from_within:
            guest.ospm.reset()
        else:
            guest.virsh("reset")
        guest.observer.wait_event("RESET", timeout=30, since=seen)
        guest.ospm.wait("ready", since=since)
        for vcpu_after_it in (3, 6):
            guest.ospm.run_code(vcpu_after_it)
        assert libvirts(guest) == observer.enabled_ids(guest.observer) == [0, 1, 3, 6]
        nothing_to_do(vcpu, **desired, scope="live")
    guest.suspend()
    nothing_to_do(vcpu, **desired, scope="live")
    guest.resume()
    guest.daemon.restart()
    assert libvirts(guest) == [0, 1, 3, 6]
    assert vcpu.info()["drift"] == {"config": "3,6", "libvirt": "", "placement": ""}
    nothing_to_do(vcpu, **desired, scope="live")
    vcpu.converges([0, 1, 6], **disable("3"), scope="live")


def test_a_restored_guest_has_its_vcpus_and_a_started_one_its_config(
    newest_ospm_domain: OspmDomains, newest_daemon: Daemon
) -> None:
    # Under TCG, so that saving it does not depend on what KVM the host has.
    guest = newest_ospm_domain(accel="tcg")
    vcpu = Vcpu(guest)
    vcpu.converges([0, 1, 3, 5], **enable("3,5"), scope="live")
    assert vcpu(**enable("6"), scope="config").steps == ["enable 6 done"]
    image = str(guest.file.with_suffix(".save"))
    guest.virsh("save", image)
    assert vcpu(**enable("3"), scope="live")["error_code"] == "guest_not_running"
    newest_daemon.virsh("restore", image)
    assert libvirts(guest) == observer.enabled_ids(guest.observer) == [0, 1, 3, 5]
    nothing_to_do(vcpu, **enable("3,5"), scope="live")
    vcpu.converges([0, 1, 5], **disable("3"), scope="live")
    guest.managedsave()
    guest.start()
    assert libvirts(guest) == observer.enabled_ids(guest.observer) == [0, 1, 5]
    nothing_to_do(vcpu, **enable("5"), scope="live")
    vcpu.converges([0, 1, 4, 5], **enable("4"), scope="live")
    guest.ospm.run_code(4)
    vcpu.converges([0, 1, 4], **disable("5"), scope="live")
    assert vcpu.info()["drift"]["config"] == "4,6"
    guest.destroy()
    guest.start()
    assert libvirts(guest) == observer.enabled_ids(guest.observer) == [0, 1, 6]
    assert vcpu.info()["drift"] == {"config": "", "libvirt": "", "placement": ""}


def test_a_migrated_guest_has_the_same_vcpus_and_can_be_changed(newest_domain: Domains) -> None:
    guest = newest_domain()
    # Out of sequence: only libvirts that know of this take such a guest.
    Vcpu(guest).converges([0, 1, 6], **enable("6"))
    Vcpu(guest).converges([0, 1, 3, 6], **enable("3"))
    with Daemon(guest.daemon.release) as destination:
        there = LibvirtGuest(destination, name=guest.name, uuid=guest.uuid)
        live, persistent = (guest.file.with_suffix(suffix) for suffix in (".live", ".persistent"))
        for path, xml in ((live, guest.virsh("dumpxml", "--migratable")), (persistent, guest.xml(inactive=True))):
            path.write_text(xml.replace(str(guest.daemon.folder), str(destination.folder)), encoding="utf-8")
        guest.hang_up()
        try:
            guest.virsh(
                *("migrate", "--live", "--persistent", "--xml", str(live), "--persistent-xml", str(persistent)),
                *(destination.uri, "tcp://127.0.0.1"),
            )
            assert guest.state == "shut off"
            vcpu = Vcpu(there)
            assert (
                libvirts(there)
                == libvirts(there, inactive=True)
                == observer.enabled_ids(there.observer)
                == [0, 1, 3, 6]
            )
            nothing_to_do(vcpu, **enable("3,6"))
            wait_online(there, 4)
            vcpu.converges([0, 1, 3, 4, 6], **enable("4"))
            vcpu.converges([0, 1, 3, 4], **disable("6"))
            wait_online(there, 4)
        finally:
            there.remove()


def test_a_guest_that_was_suspended_to_memory_has_its_vcpus(newest_domain: Domains) -> None:
    # Once a vCPU was plugged, by virsh too, a guest under TCG does not wake again.
    guest = newest_domain(rest="<pm><suspend-to-mem enabled='yes'/></pm>")
    vcpu = Vcpu(guest)
    guest.shell("(sleep 0.2; echo mem > /sys/power/state) > /dev/null 2>&1 &")
    guest.observer.wait_event("SUSPEND", timeout=30)
    nothing_to_do(vcpu, count=2)
    info = vcpu.info()
    assert (info["guest"]["state"], info.enabled()) == ("pmsuspended", [0, 1])
    guest.virsh("dompmwakeup")
    guest.hang_up()
    guest.wait_ready()
    assert observer.guest_cpus(guest) == [0, 1]
    nothing_to_do(vcpu, count=2)


def test_pins_and_schedulers_are_those_of_the_plugged_thread(newest_ospm_domain: OspmDomains) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one CPU to pin to")
    first, second = sorted(os.sched_getaffinity(0))[:2]
    guest = newest_ospm_domain(
        rest=f"<cputune><vcpupin vcpu='1' cpuset='{second}'/><vcpupin vcpu='5' cpuset='{first}'/>"
        "<vcpusched vcpus='5' scheduler='batch'/></cputune>",
    )
    vcpu = Vcpu(guest)
    applied = vcpu.converges([0, 1, 5], **enable("5"))
    assert (applied["vcpus"][5]["pin"], applied["vcpus"][5]["scheduler"]) == (str(first), "batch")
    assert applied["vcpus"][1]["pin"] == str(second)
    assert cpus_allowed(observer.thread_of(guest.observer, 0)) == applied["vcpus"][0]["pin"]
    assert os.sched_getaffinity(observer.thread_of(guest.observer, 5)) == {first}
    assert os.sched_getscheduler(observer.thread_of(guest.observer, 5)) == os.SCHED_BATCH
    # One that is not there can be pinned too, and has it when it comes.
    guest.virsh("vcpupin", "6", str(second), "--live", "--config")
    assert vcpu.info()["vcpus"][6]["pin"] == str(second)
    vcpu.converges([0, 1, 5, 6], **enable("6"))
    assert os.sched_getaffinity(observer.thread_of(guest.observer, 6)) == {second}


def test_a_pin_of_the_running_guest_only_is_returned(newest_domain: Domains) -> None:
    guest = newest_domain(boot=False)
    guest.virsh("vcpupin", "1", "0", "--live")
    assert Vcpu(guest).info()["vcpus"][1]["pin"] == "0"


@pytest.mark.parametrize("transient", [True, False], ids=["transient", "persistent"])
def test_the_order_of_plugging_is_libvirts(newest_ospm_domain: OspmDomains, transient: bool) -> None:
    guest = newest_ospm_domain(vcpus=vcpus(8, {0: 1, 1: 3, 3: 2, 5: 4}), transient=transient)
    vcpu = Vcpu(guest)
    assert observer.enabled_ids(guest.observer) == [0, 1, 3, 5]
    assert orders(guest) == order_returned(vcpu.info()) == {0: 1, 3: 2, 1: 3, 5: 4}
    for wanted, desired, expected in (
        ([0, 1, 3, 4, 5], enable("4"), {0: 1, 3: 2, 1: 3, 5: 4, 4: 5}),
        ([0, 1, 2, 3, 4, 5], enable("2"), {0: 1, 3: 2, 1: 3, 5: 4, 4: 5, 2: 6}),
        ([0, 2, 3, 4, 5], disable("1"), {0: 1, 3: 2, 5: 3, 4: 4, 2: 5}),
    ):
        vcpu.converges(wanted, **desired, scope="live")
        assert orders(guest) == expected
        assert order_returned(vcpu.info()) == expected
    guest.daemon.restart()
    assert orders(guest) == expected


def test_up_to_the_maximum_and_not_beyond(newest_ospm_domain: OspmDomains) -> None:
    guest = newest_ospm_domain()
    vcpu = Vcpu(guest)
    vcpu.refuses("unknown_vcpu", **enable("8"))
    vcpu.refuses("unknown_vcpu", **disable("9999"))
    for count in (0, 9):
        vcpu.refuses("count_unreachable", count=count)
    vcpu.refuses("not_hotpluggable", **disable("0"))
    vcpu.refuses("not_hotpluggable", **disable("0"), scope="config")
    # Non-hotpluggable since the boot.
    blocked = vcpu.refuses("not_hotpluggable", **disable("1"), scope="live")
    assert "a vCPU that libvirt cannot unplug" in blocked["msg"]
    for asked_for_what_is in (enable("0"), enable("0-1"), disable("3"), {"count": 2}):
        nothing_to_do(vcpu, **asked_for_what_is)
    assert counts(guest) == {"maximum config": 8, "maximum live": 8, "current config": 2, "current live": 2}
    applied = vcpu.converges(list(range(8)), count=8)
    assert applied["guest"]["max_vcpus"] == 8
    assert counts(guest) == {"maximum config": 8, "maximum live": 8, "current config": 8, "current live": 8}
    guest.ospm.run_code(7)
    config = vcpu(**disable("3-4"), scope="config")
    assert (config.steps, libvirts(guest, inactive=True)) == (["disable 4 done", "disable 3 done"], [0, 1, 2, 5, 6, 7])
    assert counts(guest)["current config"] == 6
    assert libvirts(guest) == observer.enabled_ids(guest.observer) == list(range(8))


def test_vcpus_are_plugged_and_unplugged_in_several_rounds(newest_ospm_domain: OspmDomains) -> None:
    # Under TCG, because a KVM may not accept a vCPU again that has run.
    guest = newest_ospm_domain(vcpus="<vcpu current='1'>12</vcpu>", accel="tcg")
    vcpu = Vcpu(guest)
    for _round in range(3):
        for count in (4, 1):
            applied = vcpu(count=count)
            assert (applied["changed"], observer.enabled_ids(guest.observer)) == (True, list(range(count)))
            assert libvirts(guest) == libvirts(guest, inactive=True) == list(range(count))
            for running in range(1, count):
                guest.ospm.run_code(running)


def test_vcpus_are_plugged_on_their_nodes_if_nodes_alternate(newest_domain: Domains) -> None:
    cells = [{"cpus": [0, 2, 4, 6, 8]}, {"cpus": [1, 3, 5, 7, 9]}]
    guest = newest_domain(vcpus="<vcpu current='5'>10</vcpu>", numa=cells)
    applied = Vcpu(guest).converges(list(range(10)), count=10)
    assert observer.ids_by_node(guest.observer) == {0: [0, 2, 4, 6, 8], 1: [1, 3, 5, 7, 9]}
    assert [told["node"] for told in applied["vcpus"]] == [0, 1] * 5
    wait_online(guest, 10)
    assert {node: len(cpus) for node, cpus in observer.guest_nodes(guest).items()} == {0: 5, 1: 5}


def test_vcpus_that_the_agent_offlined_are_still_enabled(newest_domain: Domains) -> None:
    guest = newest_domain(agent=True)
    vcpu = Vcpu(guest)
    guest.virsh("setvcpus", "1", "--guest")
    wait_online(guest, 1)
    assert counts(guest)["current live"] == 2
    told = vcpu(check=True, count=2, guest_online="ignore")
    assert told.enabled() == observer.enabled_ids(guest.observer) == [0, 1]
    assert not [step for step in told.steps if step.startswith("plug")]
    vcpu(**enable("4"), guest_online="ignore", scope="live")
    assert observer.enabled_ids(guest.observer) == [0, 1, 4]
    with pytest.raises(LabError, match="greater than"):
        guest.virsh("setvcpus", "4", "--guest")


def test_a_guest_without_acpi_acknowledges_no_plug_and_no_unplug(newest_domain: Domains) -> None:
    guest = newest_domain(start=False)
    guest.define(guest.description.replace("<features><acpi/></features>", ""))
    guest.start()
    guest.wait_ready()
    vcpu = Vcpu(guest)
    silent = vcpu(**enable("2"), timeout=2)
    assert (silent["error_code"], silent["changed"], silent.steps) == (
        "plug_unacknowledged",
        True,
        ["plug 2 pending", "enable 2 skipped"],
    )
    assert observer.enabled_ids(guest.observer) == silent.enabled() == [0, 1, 2]
    assert vcpu(**enable("2-3"), guest_online="ignore").steps[0] == "plug 3 done"
    stays = vcpu(**disable("3"), scope="live", timeout=2)
    assert (stays["error_code"], stays["changed"]) == ("guest_not_ready", False)
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]


def test_a_domain_with_an_order_twice_is_not_changed(newest_domain: Domains) -> None:
    for twice in ({0: 1, 1: 3, 3: 3, 5: 2}, {0: 1, 1: 2, 3: 3, 5: 2}):
        guest = newest_domain(vcpus=vcpus(8, twice), start=False)
        before = guest.xml(inactive=True)
        with pytest.raises(LabError, match="duplicate vcpu order"):
            guest.start()
        refused = Vcpu(guest)(**enable("4"))
        assert (refused["error_code"], refused["changed"]) == ("config_invalid", False), refused
        assert guest.xml(inactive=True) == before


def test_names_of_missing_guests_and_invalid_options_are_errors(newest_domain: Domains) -> None:
    guest = newest_domain(start=False)
    vcpu = Vcpu(guest)
    for name in ("9999", "0x1", "#", "99999999-9999-9999-9999-999999999999"):
        found = vcpu(name=name, count=1)
        assert (found["error_code"], found["changed"]) == ("guest_not_found", False)
    for wrong in ({}, {"count": 2, "xyz": 1}, {"count": "many"}, {"count": 2, "scope": "current,live"}):
        refused = vcpu(**wrong)
        assert (refused["error_code"], refused["changed"]) == ("conflicting_request", False)
    assert libvirts(guest, inactive=True) == [0, 1]


def test_current_equals_config_for_a_guest_that_is_shut_off(newest_domain: Domains) -> None:
    guest = newest_domain(start=False)
    vcpu = Vcpu(guest)
    assert vcpu(count=3, scope="current").steps == ["enable 2 done"]
    assert vcpu(**disable("2"), scope="config").steps == ["disable 2 done"]
    assert libvirts(guest, inactive=True) == [0, 1]
