# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vcpu on real guests and monitors that refuse, are slow, are not ready, or end.

Where Linux itself is not the subject, the guests are OSPM guests; test_ospm_answers.py has more of what guests reply.
"""

from __future__ import annotations

from lab import linux_behaviours, observer

from .conftest import TWO_NODES, Boot, BootOspm
from .support.modules import Vcpu, run_module, wait_online
from .support.ospm_guests import once_requested

FOUR = {**TWO_NODES, "smp": "4,sockets=4,cores=2,threads=1,maxcpus=8"}


def test_requests_to_a_busy_guest_are_repeated_within_the_timeout(boot: Boot) -> None:
    guest = boot(**FOUR)
    linux_behaviours.refuse(guest, 2)
    result = Vcpu(guest)(vcpus=[{"id": "2-3", "state": "disabled"}], timeout=4)
    assert result["error_code"] == "unplug_refused"
    assert result.steps == ["unplug 3 done", "unplug 2 refused"]
    assert result["changed"] is True
    assert "times" in result["msg"]
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]


def test_a_final_refusal_is_reported_immediately(boot: Boot) -> None:
    guest = boot(**FOUR)
    linux_behaviours.forbid_ejects(guest)
    result = Vcpu(guest)(vcpus=[{"id": "3", "state": "disabled"}], timeout=600)
    assert (result["error_code"], result.steps, result["changed"]) == ("unplug_refused", ["unplug 3 refused"], False)
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]


def test_a_pending_unplug_that_completes_later_is_found_done(boot: Boot) -> None:
    guest = boot(**FOUR)
    vcpu = Vcpu(guest)
    linux_behaviours.delay_unplugs(guest, 3)
    pending = vcpu(vcpus=[{"id": "3", "state": "disabled"}], timeout=2)
    assert (pending["error_code"], pending.steps) == ("unplug_pending", ["unplug 3 pending"])
    assert pending["changed"] is False
    linux_behaviours.stop_delaying(guest, 3)
    observer.wait_enabled(guest.observer, [0, 1, 2])
    again = vcpu(vcpus=[{"id": "3", "state": "disabled"}])
    assert (again["changed"], again.steps) == (False, [])


def test_vcpu_0_is_refused_with_the_reason(boot_ospm: BootOspm) -> None:
    guest = boot_ospm(**TWO_NODES)
    refused = Vcpu(guest).refuses("not_hotpluggable", vcpus=[{"id": "0", "state": "disabled"}])
    assert "boot vCPU" in refused["msg"]


def test_a_guest_in_its_firmware_is_not_ready(boot: Boot) -> None:
    guest = boot(**TWO_NODES, boot=False)
    vcpu = Vcpu(guest)
    unplug = vcpu(vcpus=[{"id": "1", "state": "disabled"}], timeout=2)
    assert (unplug["error_code"], unplug["changed"], unplug.steps) == ("guest_not_ready", False, ["unplug 1 failed"])
    plug = vcpu(vcpus=[{"id": "2", "state": "enabled"}], timeout=2)
    assert (plug["error_code"], plug["changed"], plug.steps) == ("plug_unacknowledged", True, ["plug 2 pending"])
    assert vcpu(vcpus=[{"id": "3", "state": "enabled"}], guest_online="ignore")["changed"] is True
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]
    assert vcpu.info()["vcpus"][1]["can_disable"]["code"] == "guest_not_ready"


def test_a_booting_guest_finds_the_vcpu_that_is_plugged(boot: Boot) -> None:
    # Unplugs are left to OSPM guests: QEMU under TCG aborts when a vCPU is removed while Linux boots.
    guest = boot(**TWO_NODES, ready=False)
    result = Vcpu(guest)(vcpus=[{"id": "5", "state": "enabled"}])
    assert (result.get("error_code"), result.steps) == (None, ["plug 5 done"])
    assert observer.enabled_ids(guest.observer) == [0, 1, 5]
    guest.wait_ready()
    wait_online(guest, 3)


def test_no_unplug_is_requested_from_a_paused_guest(boot_ospm: BootOspm) -> None:
    for guest in (boot_ospm(**TWO_NODES, paused=True), boot_ospm(**TWO_NODES)):
        guest.observer.execute("stop")
        Vcpu(guest).refuses("guest_not_ready", vcpus=[{"id": "1", "state": "disabled"}])
        Vcpu(guest).refuses("guest_not_ready", count=3, guest_online="verify")


def test_a_machine_without_hotplug_is_not_changed(boot: Boot) -> None:
    guest = boot(machine="microvm", smp="2,maxcpus=4", paused=True)
    vcpu = Vcpu(guest)
    for desired in ({"count": 3}, {"count": 1}, {"vcpus": [{"id": "3", "state": "enabled"}]}):
        assert vcpu(**desired)["error_code"] == "hotplug_unsupported"
    assert vcpu(count=2)["changed"] is False
    assert [told["live"] for told in vcpu.info()["vcpus"]] == ["enabled", "enabled", "disabled", "disabled"]


def test_a_monitor_that_another_client_holds_is_busy(boot: Boot) -> None:
    guest = boot(**TWO_NODES, paused=True)
    with observer.Monitor(guest.qmp_socket):
        result = run_module("kvm.hotplug.vcpu", qmp_socket=guest.qmp_socket, count=3, timeout=2)
    assert (result["error_code"], result["changed"]) == ("monitor_busy", False)
    assert observer.enabled_ids(guest.observer) == [0, 1]


def test_a_qemu_that_ends_during_the_run_is_a_lost_connection(boot_ospm: BootOspm) -> None:
    guest = boot_ospm(**FOUR)
    guest.ospm.refuse(2)
    once_requested(guest, 2, guest.kill)
    result = Vcpu(guest)(vcpus=[{"id": "2-3", "state": "disabled"}])
    assert (result["error_code"], result.steps) == ("connection_lost", ["unplug 3 done", "unplug 2 failed"])
    assert result["changed"] is True
    gone = Vcpu(guest)(count=2)
    assert (gone["error_code"], gone["steps"]) == ("monitor_unreachable", [])


def test_invalid_options_are_refused_before_anything_is_sent(boot: Boot) -> None:
    vcpu = Vcpu(boot(**TWO_NODES, paused=True))
    for ids in ("8", "3-1", "1-99999999999"):
        vcpu.refuses("unknown_vcpu", vcpus=[{"id": ids, "state": "enabled"}])
    vcpu.refuses("unknown_node", nodes=[{"id": "2", "state": "enabled"}])
    vcpu.refuses("conflicting_request", vcpus=[])
    vcpu.refuses("conflicting_request", vcpus=[{"id": "2-4", "state": "enabled"}, {"id": "4", "state": "disabled"}])
    vcpu.refuses("conflicting_request", count=2, nodes=[{"id": "1", "count": 2}])
    for count in (0, 9):
        vcpu.refuses("count_unreachable", count=count)
