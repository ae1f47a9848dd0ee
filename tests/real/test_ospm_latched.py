# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests that QEMU keeps because the guest took no notice of them: they are not sent, or reported until settled.

The guests are OSPM guests over QMP; QEMU itself is the judge.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lab import binaries, observer
from lab.ospm import OspmGuest

from .conftest import BootOspm
from .support.modules import PATIENCE, Vcpu, run_module

FOUR = {"smp": "4,sockets=4,cores=2,threads=1,maxcpus=8"}
# It starts, waits for a command, and then brings ACPI up and listens.
HELD = "h a l"


def disable(guest: OspmGuest, vcpus: str, **options: Any) -> Any:
    return Vcpu(guest)(vcpus=[{"id": vcpus, "state": "disabled"}], **options)


def enable(guest: OspmGuest, vcpus: str, **options: Any) -> Any:
    return Vcpu(guest)(vcpus=[{"id": vcpus, "state": "enabled"}], **options)


def disable_at(socket: str, vcpus: str) -> Any:
    return run_module("kvm.hotplug.vcpu", qmp_socket=socket, vcpus=[{"id": vcpus, "state": "disabled"}])


def unsettled(warnings: str) -> bool:
    return "vCPU 3 may be unplugged at any time" in warnings


def info_warnings(guest: OspmGuest) -> str:
    return run_module("kvm.hotplug.vcpu_info", qmp_socket=guest.qmp_socket).warnings


def notes(guest: OspmGuest) -> list[str]:
    labels = (device["label"] for device in guest.observer.execute("query-chardev"))
    return [label for label in labels if label.startswith("kvm-hotplug.unplug.")]


@pytest.mark.parametrize("qemu", binaries.qemus(), ids=str)
@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_a_guest_that_does_not_listen_is_not_asked(boot_ospm: BootOspm, qemu: binaries.Qemu, machine: str) -> None:
    guest = boot_ospm(**FOUR, boot_steps="a h l", qemu=qemu, machine=machine)
    guest.ospm.wait_hold()
    result = disable(guest, "3", timeout=2)
    assert (result["error_code"], result.steps, result["changed"]) == ("guest_not_ready", ["unplug 3 failed"], False)
    assert notes(guest) == []
    guest.ospm.release()
    guest.ospm.wait_ready()
    plugged = enable(guest, "5")
    assert (plugged.get("error_code"), plugged.steps) == (None, ["plug 5 done"]), plugged
    assert not unsettled(plugged.warnings)
    guest.ospm.wait_idle()
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("qemu", binaries.qemus(), ids=str)
def test_a_vcpu_is_not_lost_when_it_was_to_be_unplugged_right_after_a_reset(
    boot_ospm: BootOspm, qemu: binaries.Qemu
) -> None:
    guest = boot_ospm(**FOUR, boot_steps="w1500 a w1500 l", qemu=qemu)
    guest.observer.execute("system_reset")
    result = disable(guest, "3", timeout=1)
    assert (result["error_code"], result["changed"]) == ("guest_not_ready", False), result
    guest.ospm.wait_ready()
    assert enable(guest, "5").steps == ["plug 5 done"]
    guest.ospm.wait_idle()
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3, 5]
    guest.observer.execute("system_reset")
    assert disable(guest, "3", timeout=20).steps == ["unplug 3 done"]
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 5]


def reset_once_requested(guest: OspmGuest) -> None:
    deadline = time.monotonic() + PATIENCE
    while not notes(guest):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # The request was sent with the note, and QEMU carries out the commands of its monitors in turn.
    for _turn in range(10):
        guest.observer.execute("query-status")
    guest.ospm.reset()


@pytest.fixture
def latched(boot_ospm: BootOspm) -> OspmGuest:
    """A guest that was reset before it noticed that vCPU 3 was to be unplugged, and listens again since."""
    guest = boot_ospm(**FOUR, boot_steps=HELD)
    guest.ospm.wait_hold()
    guest.ospm.release()
    guest.ospm.wait_ready()
    # While it carries out a command, it takes no notice of events.
    since = len(guest.ospm.facts)
    guest.ospm.command("! 0 h")
    guest.ospm.wait("hold 0", since=since)
    reset = threading.Thread(target=reset_once_requested, args=[guest])
    reset.start()
    result = disable(guest, "3", timeout=4)
    reset.join()
    assert (result["error_code"], result.steps, result["changed"]) == (
        "unplug_pending",
        ["unplug 3 pending"],
        False,
    ), result
    assert len(notes(guest)) == 1
    guest.ospm.release()
    guest.ospm.wait_ready()
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]
    return guest


def test_every_later_run_reports_a_pending_unplug_until_it_is_carried_out(latched: OspmGuest) -> None:
    assert unsettled(info_warnings(latched))
    wanted = enable(latched, "3", timeout=1)
    assert (wanted["error_code"], wanted.steps, wanted["changed"]) == ("unplug_pending", [], False), wanted
    assert "disable it first" in wanted["msg"]
    plugged = enable(latched, "5")
    assert (plugged.get("error_code"), plugged.steps) == (None, ["plug 5 done"]), plugged
    assert unsettled(plugged.warnings)
    # The event of the plug has the guest carry the other request out, too.
    observer.wait_enabled(latched.observer, [0, 1, 2, 5])
    assert not unsettled(info_warnings(latched))
    assert not unsettled(enable(latched, "6").warnings)


def test_a_pending_unplug_is_settled_by_disabling_the_vcpu(latched: OspmGuest) -> None:
    result = disable(latched, "3")
    assert (result.get("error_code"), result.steps, result["changed"]) == (None, ["unplug 3 done"], True), result
    assert notes(latched) == []
    assert not unsettled(result.warnings)
    assert observer.enabled_ids(latched.observer) == [0, 1, 2]


def test_a_count_disables_first_what_may_be_unplugged_anyway(latched: OspmGuest) -> None:
    result = Vcpu(latched)(count=3)
    assert (result.get("error_code"), result.steps) == (None, ["unplug 3 done"]), result
    assert notes(latched) == []


def test_of_two_runs_that_unplug_the_same_vcpu_one_has_changed_something(boot_ospm: BootOspm, tmp_path: Path) -> None:
    second = str(tmp_path / "second")
    guest = boot_ospm(**FOUR, extra=["-qmp", f"unix:{second},server=on,wait=off"])
    guest.ospm.hold(3)
    results: list[Any] = []

    def disable_over(socket: str) -> None:
        results.append(disable_at(socket, "3"))

    runs = [threading.Thread(target=disable_over, args=[socket]) for socket in (guest.qmp_socket, second)]
    for run in runs:
        run.start()
    guest.ospm.wait("hold 3")
    time.sleep(3)
    guest.ospm.release()
    for run in runs:
        run.join()
    assert [result.get("error_code") for result in results] == [None, None], results
    assert sorted(result["changed"] for result in results) == [False, True], results
    assert notes(guest) == []
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]


def test_a_vcpu_is_plugged_though_its_usual_id_is_that_of_another_device(boot_ospm: BootOspm) -> None:
    taken = [
        argument for name in ("vcpu5", "kvm-hotplug-vcpu5") for argument in ("-device", f"virtio-rng-pci,id={name}")
    ]
    guest = boot_ospm(**FOUR, extra=taken)
    applied = Vcpu(guest).converges([0, 1, 2, 3, 5], enabled="0-3,5")
    assert applied.steps == ["plug 5 done"]
    assert disable(guest, "5").steps == ["unplug 5 done"]
