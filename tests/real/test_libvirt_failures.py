# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vcpu on libvirt guests that refuse, are slow, stop or disappear, and with daemons that restart or are missing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Callable

import pytest

from lab import LabError, observer
from lab.daemon import Daemon
from lab.domains import LibvirtGuest

from .conftest import Domains, OspmDomains
from .support.modules import PATIENCE, Vcpu, run_module
from .support.ospm_guests import once_requested
from .test_libvirt_guests import HOTPLUGGABLE, libvirts, tainted

# A test that has its result has not waited for the guest: it gives a module less time than this.
BEYOND = 2 * PATIENCE

THREE_GO = {
    "vcpus": "<vcpu current='4'>8</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/>"
    + "".join(f"<vcpu id='{vcpu}' enabled='{'yes' if vcpu < 4 else 'no'}' hotpluggable='yes'/>" for vcpu in range(1, 8))
    + "</vcpus>"
}


def test_a_vcpu_removed_without_libvirts_knowledge_is_done_and_drift(ospm_domain: OspmDomains) -> None:
    # Under TCG, QEMU does not report to libvirt that a vCPU was removed: its call ends in the time-out that users know.
    guest = ospm_domain(**THREE_GO, accel="tcg", as_kvm=False)
    vcpu = Vcpu(guest)
    applied = vcpu.converges([0, 1, 2], vcpus=[{"id": "3", "state": "disabled"}])
    assert 3 in libvirts(guest)
    assert "restart the libvirt daemon" in applied.warnings
    info = vcpu.info()
    assert info["drift"] == {"config": "", "libvirt": "3", "placement": ""}
    assert info["vcpus"][3]["can_enable"]["code"] == "not_hotpluggable"
    refused = vcpu.refuses("not_hotpluggable", vcpus=[{"id": "3", "state": "enabled"}])
    assert "restart the libvirt daemon" in refused["msg"]
    # Once libvirt has plugged another, it reads the whole process for the thread it misses.
    vcpu.converges([0, 1, 2, 4], vcpus=[{"id": "4", "state": "enabled"}])
    assert vcpu.info()["drift"]["libvirt"] == "3"
    assert not tainted(guest)
    guest.daemon.restart()
    assert libvirts(guest) == [0, 1, 2, 4]
    assert vcpu.info()["drift"]["libvirt"] == ""
    since = len(guest.ospm.facts)
    vcpu.converges([0, 1, 2, 3, 4], vcpus=[{"id": "3", "state": "enabled"}])
    guest.ospm.wait("ost 3 1 0", since=since)


def test_a_vcpu_whose_removal_libvirt_detects_is_removed_everywhere(ospm_domain: OspmDomains) -> None:
    # Under TCG, because a KVM may not accept the vCPU again; QEMU's report of the removal is added as under KVM.
    guest = ospm_domain(**THREE_GO, accel="tcg")
    vcpu = Vcpu(guest)
    vcpu.converges([0, 1, 3], vcpus=[{"id": "2", "state": "disabled"}])
    assert libvirts(guest) == libvirts(guest, inactive=True) == [0, 1, 3]
    assert vcpu.info()["drift"] == {"config": "", "libvirt": "", "placement": ""}
    vcpu.converges([0, 1, 2, 3], vcpus=[{"id": "2", "state": "enabled"}])
    assert not tainted(guest)


def test_a_refused_unplug_is_requested_again_and_reported(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(**THREE_GO)
    guest.ospm.refuse(2)
    result = Vcpu(guest)(vcpus=[{"id": "2", "state": "disabled"}], timeout=14)
    assert (result["error_code"], result.steps) == ("unplug_refused", ["unplug 2 refused", "disable 2 skipped"])
    assert result["changed"] is False
    assert "busy" in result["msg"]
    assert observer.enabled_ids(guest.observer) == libvirts(guest, inactive=True) == [0, 1, 2, 3]


def test_a_guest_that_accepts_the_second_request_is_no_failure(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(**THREE_GO)
    guest.ospm.refuse(3, times=1)
    result = Vcpu(guest)(vcpus=[{"id": "3", "state": "disabled"}])
    assert (result.get("error_code"), result.steps) == (None, ["unplug 3 done", "disable 3 done"])
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]


def test_a_final_refusal_is_reported_immediately(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(**THREE_GO)
    guest.ospm.refuse(3, status=128)
    result = Vcpu(guest)(vcpus=[{"id": "3", "state": "disabled"}], timeout=BEYOND, on_failure="rollback")
    assert (result["error_code"], result.steps[0]) == ("unplug_refused", "unplug 3 refused")
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]


def test_a_paused_guest_accepts_plugs_and_no_unplugs(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(vcpus=HOTPLUGGABLE)
    guest.suspend()
    vcpu = Vcpu(guest)
    vcpu.refuses("guest_not_ready", vcpus=[{"id": "5", "state": "disabled"}])
    applied = vcpu.converges([0, 1, 2, 3, 5], vcpus=[{"id": "3", "state": "enabled"}])
    assert applied["guest"]["state"] == "paused"
    guest.resume()
    guest.ospm.wait("ost 3 1 0")


def test_a_guest_that_never_ran_shows_its_vcpus(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(vcpus=HOTPLUGGABLE, paused=True)
    info = Vcpu(guest).info()
    assert info.enabled() == observer.enabled_ids(guest.observer) == [0, 1, 2, 5]
    assert info["drift"]["libvirt"] in ("", None)


def test_a_managed_save_is_reported(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(accel="tcg")
    guest.managedsave()
    applied = Vcpu(guest)(count=3)
    assert (applied["changed"], applied.steps) == (True, ["enable 2 done"])
    assert "managed save" in applied.warnings


def test_a_daemon_restarted_during_the_run(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(**THREE_GO)
    guest.ospm.refuse(2)
    once_requested(guest, 2, lambda: guest.daemon.restart(hard=True))
    result = Vcpu(guest)(vcpus=[{"id": "2", "state": "disabled"}, {"id": "5", "state": "enabled"}], timeout=60)
    assert result["error_code"] == "connection_lost", result
    assert (result.steps[0], result["changed"]) == ("plug 5 done", True)
    assert result.enabled() == observer.enabled_ids(guest.observer) == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("transient", [True, False], ids=["transient", "persistent"])
def test_a_guest_that_ends_during_the_run(ospm_domain: OspmDomains, transient: bool) -> None:
    guest = ospm_domain(**THREE_GO, transient=transient)
    guest.ospm.refuse(2)
    once_requested(guest, 2, guest.destroy)
    result = Vcpu(guest)(vcpus=[{"id": "2", "state": "disabled"}], timeout=60)
    assert result["error_code"] in ("guest_not_running", "guest_not_found"), result
    again = Vcpu(guest)(count=2)
    if transient:
        assert again["error_code"] == "guest_not_found"
    else:
        assert again["guest"]["state"] == "shutoff"


@contextlib.contextmanager
def once_plugged(guest: LibvirtGuest, action: Callable[[], None]) -> Iterator[None]:
    """Take an action a second after the guest has another vCPU."""
    before = observer.enabled_ids(guest.observer)

    def act() -> None:
        while observer.enabled_ids(guest.observer) == before:
            time.sleep(0.05)
        time.sleep(1)
        action()

    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join()


def test_a_guest_that_ends_while_its_acknowledgement_is_awaited(domain: Domains) -> None:
    guest = domain(boot=False)
    with once_plugged(guest, guest.destroy):
        result = Vcpu(guest)(count=3, timeout=BEYOND)
    assert result["error_code"] == "guest_not_running", result
    assert (result["changed"], result.steps[0], result["guest"]["state"]) == (True, "plug 2 done", "shutoff")


def test_a_daemon_restarted_while_an_acknowledgement_is_awaited(domain: Domains) -> None:
    guest = domain(boot=False)
    with once_plugged(guest, lambda: guest.daemon.restart(hard=True)):
        result = Vcpu(guest)(count=3, timeout=BEYOND)
    assert result["error_code"] == "connection_lost", result
    assert (result["changed"], result.steps[0]) == (True, "plug 2 done")
    assert result.enabled() == observer.enabled_ids(guest.observer) == [0, 1, 2]


UNPLACEABLE = {
    "cpuset": ("<vcpupin vcpu='2' cpuset='1000'/>", "cannot set CPU affinity"),
    "scheduler": ("<vcpusched vcpus='2' scheduler='fifo' priority='1'/>", "Cannot set scheduler parameters"),
}


@pytest.mark.parametrize(("cputune", "libvirt_says"), UNPLACEABLE.values(), ids=UNPLACEABLE)
def test_a_vcpu_that_libvirt_plugs_and_cannot_place(ospm_domain: OspmDomains, cputune: str, libvirt_says: str) -> None:
    guest = ospm_domain(rest=f"<cputune>{cputune}</cputune>")
    vcpu = Vcpu(guest)
    result = vcpu(count=3)
    assert observer.enabled_ids(guest.observer) == libvirts(guest) == result.enabled() == [0, 1, 2]
    assert (result["error_code"], result["changed"]) == ("placement_failed", True), result
    assert result.steps == ["plug 2 failed", "place 2 skipped", "enable 2 skipped"]
    assert libvirt_says in result["msg"]
    assert "<cputune>" in result["msg"]
    assert libvirts(guest, inactive=True) == [0, 1]


def test_a_vcpu_that_cannot_be_placed_is_unplugged_by_rollback(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(rest="<cputune><vcpupin vcpu='3' cpuset='1000'/></cputune>")
    result = Vcpu(guest)(count=4, on_failure="rollback")
    assert (result["error_code"], result["changed"]) == ("placement_failed", False), result
    assert result.steps[:2] == ["plug 2 undone", "plug 3 undone"]
    assert observer.enabled_ids(guest.observer) == libvirts(guest) == result.enabled() == [0, 1]


def test_a_guest_in_its_firmware_is_not_ready(domain: Domains) -> None:
    guest = domain(vcpus=HOTPLUGGABLE, boot=False)
    time.sleep(1)
    result = Vcpu(guest)(vcpus=[{"id": "5", "state": "disabled"}], timeout=3)
    assert (result["error_code"], result["changed"]) == ("guest_not_ready", False), result


def test_a_guest_that_migrates_keeps_its_vcpus(domain: Domains) -> None:
    guest = domain(vcpus=HOTPLUGGABLE)
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 5]
    with Daemon(guest.daemon.release) as destination:

        def migrate() -> None:
            with contextlib.suppress(LabError):
                guest.virsh("migrate", "--live", "--bandwidth", "1", destination.uri, "tcp://127.0.0.1")

        migration = threading.Thread(target=migrate)
        migration.start()
        try:
            while "migration" not in guest.virsh("domjobinfo").lower() and migration.is_alive():
                time.sleep(0.1)
            vcpu = Vcpu(guest)
            vcpu.refuses("migration_in_progress", vcpus=[{"id": "3", "state": "enabled"}])
            vcpu.refuses("migration_in_progress", count=1)
            assert vcpu(count=4)["changed"] is False
            assert vcpu.info()["vcpus"][3]["can_enable"]["code"] == "migration_in_progress"
        finally:
            with contextlib.suppress(LabError):
                guest.virsh("domjobabort")
            migration.join()


def test_missing_libvirt_daemons_and_other_drivers_are_errors(domain: Domains) -> None:
    guest = domain(start=False)
    gone = {"name": guest.name, "uri": "qemu:///session?socket=/nonexistent/socket"}
    for module, desired in (("vcpu", {"count": 1}), ("vcpu_info", {})):
        result = run_module(f"kvm.hotplug.{module}", False, guest.daemon, **gone, **desired)
        assert (result["error_code"], result["changed"]) == ("monitor_unreachable", False)
    for name in ("nobody", "a name of 32 characters, no UUID!", "0123456789abcdef0123456789abcdef", ""):
        missing = Vcpu(guest)(name=name, count=1)
        assert (missing["error_code"], missing["changed"]) == ("guest_not_found", False), name
    for module, desired in (("vcpu", {"name": "test", "count": 1}), ("vcpu_info", {"name": "test"}), ("vcpu_info", {})):
        other = run_module(f"kvm.hotplug.{module}", False, guest.daemon, uri="test:///default", **desired)
        assert (other["error_code"], other["changed"]) == ("hotplug_unsupported", False)
        assert "only guests of QEMU can be managed" in other["msg"]
    for options in ({"qmp_socket": "/q"}, {"domain_xml": "/x"}, {"backup": True}):
        assert Vcpu(guest)(count=1, **options)["error_code"] == "conflicting_request"
