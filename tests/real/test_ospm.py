# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The OSPM guest itself, before other tests rely on it: checked by raw QMP and by /proc."""

from __future__ import annotations

import contextlib
import pathlib
import time

import pytest

from lab import LabError, binaries, kvm, observer, ospm_image, unprivileged_user
from lab.ospm import OspmGuest

from .conftest import TWO_CELLS, TWO_NODES, BootOspm, OspmDomains

ACCELERATORS = ["tcg", *(["kvm"] if kvm.kvm_works() else [])]
MACHINES = {"q35": 0x628, "pc": 0xAFE2}
ANSWERED = 10


def statuses(guest: OspmGuest, vcpu: int, since: int = 0) -> list[tuple[int, int]]:
    """The _OST events and statuses that QEMU reported of one vCPU."""
    guest.observer.execute("query-status")  # which comes behind all events there are
    reports = (event["data"]["info"] for event in guest.observer.events[since:] if event["event"] == "ACPI_DEVICE_OST")
    return [(report["source"], report["status"]) for report in reports if report["slot"] == str(vcpu)]


def plug(guest: OspmGuest, vcpu: int) -> None:
    since = len(guest.ospm.facts)
    observer.plug(guest.observer, vcpu)
    guest.ospm.wait(f"end plug {vcpu}", since=since)
    guest.observer.execute("query-status")


def unplug(guest: OspmGuest, vcpu: int, **device: str) -> list[tuple[int, int]]:
    """Ask for one vCPU, wait for the end of the guest's answer, and return what it reported."""
    facts, events = len(guest.ospm.facts), len(guest.observer.events)
    guest.observer.execute("device_del", **(device or {"id": f"vcpu{vcpu}"}))
    guest.ospm.wait(f"end unplug {vcpu}", since=facts)
    return statuses(guest, vcpu, events)


def gpe_enabled(guest: OspmGuest, machine: str) -> int:
    """What GPE0_EN's first byte has."""
    text = guest.observer.execute("human-monitor-command", command_line=f"i /b {MACHINES[machine]:#x}")
    return int(text.rpartition("=")[2], 16)


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_the_image_is_its_source_assembled() -> None:
    assert ospm_image.assembled_from() == ospm_image.digest(), "run python3 -m lab.ospm_image in tests/"
    if ospm_image.can_assemble():
        assert ospm_image.assemble() == ospm_image.read()


@pytest.mark.parametrize("accel", ACCELERATORS)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("qemu", binaries.qemus(), ids=str)
def test_it_plugs_ejects_and_runs_code(boot_ospm: BootOspm, accel: str, machine: str, qemu: binaries.Qemu) -> None:
    guest = boot_ospm(**TWO_NODES, accel=accel, machine=machine, qemu=qemu)
    for vcpu in (2, 3):
        plug(guest, vcpu)
        assert statuses(guest, vcpu) == [(1, 0)]
        guest.ospm.run_code(vcpu)
    guest.ospm.run_code(1)
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]
    assert unplug(guest, 3) == [(3, 132), (3, 0)]
    assert unplug(guest, 1, id=observer.slot_of(guest.observer, 1)["qom-path"]) == [(3, 132), (3, 0)]
    assert observer.enabled_ids(guest.observer) == [0, 2]


@pytest.mark.parametrize("machine", MACHINES)
def test_it_starts_after_seabios_too(boot_ospm: BootOspm, machine: str) -> None:
    guest = boot_ospm(**TWO_NODES, machine=machine, seabios=True, accel="tcg")
    plug(guest, 5)
    guest.ospm.run_code(5)
    assert unplug(guest, 5) == [(3, 132), (3, 0)]
    assert observer.enabled_ids(guest.observer) == [0, 1]


@pytest.mark.parametrize("accel", ACCELERATORS)
def test_it_is_ready_and_acknowledges_soon_and_uses_no_cpu_time_while_idle(boot_ospm: BootOspm, accel: str) -> None:
    began = time.monotonic()
    guest = boot_ospm(**TWO_NODES, accel=accel)
    assert time.monotonic() - began < ANSWERED
    began = time.monotonic()
    plug(guest, 2)
    assert time.monotonic() - began < 1
    before = cpu_seconds(guest.pid)
    time.sleep(2)
    assert cpu_seconds(guest.pid) - before <= 0.1


def test_every_behaviour_is_what_qemu_reports(boot_ospm: BootOspm) -> None:
    guest = boot_ospm(smp="8,maxcpus=12")
    ospm = guest.ospm
    for vcpu in (8, 9):
        plug(guest, vcpu)
    ospm.refuse(8, times=1)
    assert unplug(guest, 8) == [(3, 132), (3, 130)]
    assert unplug(guest, 8) == [(3, 132), (3, 0)]
    for status, reported in ((130, [(3, 132), (3, 130)]), (128, [(3, 128)]), (1, [(3, 1)])):
        ospm.refuse(9, status)
        assert unplug(guest, 9) == unplug(guest, 9) == reported
    ospm.acknowledge_nothing()
    assert unplug(guest, 9) == []
    ospm.be_slow(0.3, 9)
    began = time.monotonic()
    assert unplug(guest, 9) == [(3, 132), (3, 0)]
    assert 0.3 <= time.monotonic() - began < 3
    ospm.acknowledge_plug("o1", 10, times=1)
    plug(guest, 10)
    assert statuses(guest, 10) == [(1, 1)]
    ospm.acknowledge()
    assert unplug(guest, 10) == [(3, 132), (3, 0)]
    assert observer.enabled_ids(guest.observer) == list(range(8))


def test_a_held_unplug_is_done_when_it_is_released(boot_ospm: BootOspm) -> None:
    guest = boot_ospm(**TWO_NODES)
    plug(guest, 2)
    guest.ospm.hold(2)
    guest.observer.execute("device_del", id="vcpu2")
    guest.ospm.wait("hold 2")
    time.sleep(0.2)
    assert (statuses(guest, 2)[1:], observer.enabled_ids(guest.observer)) == ([(3, 132)], [0, 1, 2])
    guest.ospm.release()
    guest.ospm.wait("end unplug 2")
    assert observer.enabled_ids(guest.observer) == [0, 1]


def test_invalid_commands_are_rejected_and_events_are_processed_in_order(boot_ospm: BootOspm) -> None:
    guest = boot_ospm(**TWO_NODES)
    for line in ("nonsense", "g", "p 512 0 o0"):
        with pytest.raises(LabError, match="answers error"):
            guest.ospm.command(line)
    guest.ospm.acknowledge_plug("h o0")
    observer.plug(guest.observer, 2)
    guest.ospm.wait("hold 2")
    with pytest.raises(LabError, match="answers busy"):
        guest.ospm.do("s")
    observer.plug(guest.observer, 3)
    guest.ospm.acknowledge_plug("o0", 3)
    assert guest.ospm.listen(0.2) == []
    guest.ospm.release()
    guest.ospm.wait("end plug 3")
    assert guest.ospm.facts.index("ost 2 1 0") < guest.ospm.facts.index("plug 3")


@pytest.mark.parametrize("machine", MACHINES)
def test_qemu_refuses_while_it_boots_and_gpe0_en_shows_when_it_is_ready(boot_ospm: BootOspm, machine: str) -> None:
    guest = boot_ospm(**TWO_NODES, machine=machine, boot_steps="h a h l")
    ospm = guest.ospm
    path = observer.slot_of(guest.observer, 1)["qom-path"]
    ospm.wait_hold()
    with pytest.raises(observer.MonitorError, match="not supported device type"):
        guest.observer.execute("device_del", id=path)
    assert gpe_enabled(guest, machine) & 4 == 0
    ospm.release()
    since = ospm.wait("acpi")
    # QEMU accepts the request, and the guest takes no notice of it.
    guest.observer.execute("device_del", id=path)
    assert [fact for fact in ospm.listen(0.2) if fact != "hold 0"] == []
    ospm.release()
    ospm.wait_ready()
    assert gpe_enabled(guest, machine) == 6
    assert ospm.listen(0.2) == []
    assert observer.enabled_ids(guest.observer) == [0, 1]
    # The request is latched: the next event has the guest carry it out.
    observer.plug(guest.observer, 2)
    ospm.wait("end unplug 1", since=since)
    ospm.wait("end plug 2", since=since)
    assert observer.enabled_ids(guest.observer) == [0, 2]


@pytest.mark.parametrize("accel", ACCELERATORS)
def test_it_resets_during_an_acknowledgement_and_powers_off_by_the_button(boot_ospm: BootOspm, accel: str) -> None:
    guest = boot_ospm(**TWO_NODES, accel=accel)
    plug(guest, 2)
    guest.ospm.acknowledge_unplug("o132 x", 2)
    guest.observer.execute("device_del", id="vcpu2")
    guest.observer.wait_event("RESET", ANSWERED)
    guest.ospm.wait("ready", since=guest.ospm.wait("unplug 2"))
    plug(guest, 3)
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]
    guest.observer.execute("system_powerdown")
    guest.ospm.wait("button")
    guest.observer.wait_event("SHUTDOWN", ANSWERED, reason="guest-shutdown")


@pytest.mark.parametrize("machine", MACHINES)
def test_libvirt_runs_it_as_a_domain(ospm_domain: OspmDomains, machine: str) -> None:
    guest = ospm_domain(**TWO_CELLS, machine=machine)
    assert guest.state == "running"
    guest.virsh("setvcpu", "5", "--enable", "--live")
    guest.ospm.wait("end plug 5")
    guest.ospm.run_code(5)
    assert observer.enabled_ids(guest.observer) == [0, 1, 5]
    guest.virsh("setvcpu", "5", "--disable", "--live")
    assert observer.enabled_ids(guest.observer) == [0, 1]
    ospm = guest.ospm
    guest.virsh("shutdown")
    ospm.wait("button")


def test_libvirt_uses_kvm_where_it_works(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain()
    assert guest.accel == ("kvm" if kvm.kvm_works() and unprivileged_user.can_use_kvm() else "tcg")
    used = guest.observer.execute("query-kvm")["enabled"]
    assert used == (guest.accel == "kvm")


def test_a_linux_guest_boots_under_kvm_if_it_can_and_under_tcg_if_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    # Where it runs, it is ready sooner than under TCG; where it hangs, it uses a host CPU for as long.
    monkeypatch.setattr(kvm, "LINUX_PATIENCE", 5)
    with contextlib.ExitStack() as stack:
        guest, _seconds, under = kvm.boot_linux(stack, tmp_path, smp="1,maxcpus=2")
        assert guest.observer.execute("query-kvm")["enabled"] == (under == "KVM")
        assert guest.shell("echo it runs") == "it runs\n"
    with pytest.raises(LabError):
        kvm.boot_linux(contextlib.ExitStack(), tmp_path, smp="nonsense")
