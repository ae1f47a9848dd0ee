# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt's view of a guest: differences between its record and QEMU, and its errors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import (
    ConfigLayout,
    layout_of_domain,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_state import (
    Record,
    Suspects,
    machine_view,
    recorded_in,
    state_in,
    suspects,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import (
    LibvirtCallError,
    classify,
    classify_config_error,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.host_threads import threads_of, vcpus_in
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.processes import Processes
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.uris import (
    hypervisor_of,
    is_remote,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.run_states import (
    run_state_of_domain,
    was_migrated,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads

# As libvirt 11.3 told of a guest with vCPUs 0-5 of which 5 is gone: at once, and after it had plugged 6.
GONE: dict[str, Any] = {
    "cpu.time": 4_800_000_000,
    **{f"vcpu.{vcpu}.state": 1 for vcpu in range(6)},
    **{f"vcpu.{vcpu}.time": 500_000_000 for vcpu in range(1, 5)},
    **{f"vcpu.{vcpu}.delay": 300_000_000 for vcpu in range(5)},
    "vcpu.0.time": 2_180_000_000,
    "vcpu.5.time": 0,
    "vcpu.5.delay": 0,
}
THE_PROCESS = {**GONE, "vcpu.5.time": 4_800_000_000, "vcpu.5.delay": 3_000_000_000}
UUID = "20b35926-375e-4a02-bf5e-47428fd8abc7"


def domain(enabled: set[int], fixed: set[int], **options: Any) -> Domain:
    return Domain(
        max_vcpus=8,
        enabled=frozenset(enabled),
        hotpluggable=frozenset(range(8)) - fixed,
        arch="x86_64",
        machine="pc-q35-10.0",
        **options,
    )


def record(found: Domain, in_qemu: set[int] | None = None, **options: Any) -> Record:
    laid_out = layout_of_domain(found)
    assert laid_out is not None
    return Record(found, laid_out, in_qemu=None if in_qemu is None else frozenset(in_qemu), **options)


@pytest.mark.parametrize(
    ("stats", "state"),
    [
        ({"state.state": 3, "state.reason": 1, "cpu.time": 7}, (3, 1)),
        ({"state.state": 1}, None),
        ({"state.state": "1", "state.reason": 1}, None),
        ({}, None),
    ],
)
def test_the_state_of_a_domain_is_in_its_statistics(stats: dict[str, Any], state: tuple[int, int] | None) -> None:
    assert state_in(stats) == state


def test_the_record_is_read_from_the_statistics() -> None:
    assert recorded_in(GONE) == {0, 1, 2, 3, 4, 5}
    assert recorded_in({"vcpu.current": 4, "vcpu.x.state": 1, "vcpu.1.time": 5}) == frozenset()


@pytest.mark.parametrize(
    ("stats", "found"),
    [
        (GONE, Suspects(without_statistics=frozenset({5}))),
        (THE_PROCESS, Suspects(certain=frozenset({5}))),
        ({**GONE, "vcpu.5.delay": 1}, Suspects()),
        ({**GONE, "vcpu.5.time": 10_000_000}, Suspects()),
        ({key: value for key, value in GONE.items() if not key.endswith("delay")}, None),
        *(
            ({name: value for name, value in GONE.items() if name != key}, None)
            for key in ("cpu.time", "vcpu.0.time", "vcpu.3.time", "vcpu.5.delay")
        ),
        ({}, None),
    ],
)
def test_threads_that_may_be_missing(stats: dict[str, Any], found: Suspects | None) -> None:
    assert suspects(stats, range(6)) == found


def test_the_time_of_a_busy_vcpu_is_not_confused_with_the_process() -> None:
    # Nothing else has run: all of the process's time is that of vCPU 0 and vCPU 5.
    stats = {**GONE, "cpu.time": 9_000_000_000, "vcpu.0.time": 2_000_000_000, "vcpu.5.time": 7_000_000_000}
    assert suspects(stats, range(6)) == Suspects()


def test_a_busy_guest_whose_statistics_are_read_slowly_loses_no_vcpu() -> None:
    # vCPUs 0 and 5 have run for a second each between the reading of the process's time and of their own.
    stats = {**GONE, "cpu.time": 9_000_000_000, "vcpu.0.time": 3_000_000_000, "vcpu.5.time": 8_000_000_000}
    assert suspects(stats, range(6), seconds=1.0) == Suspects()
    assert suspects({**stats, "vcpu.5.time": 9_000_000_000}, range(6), seconds=0.5) == Suspects(frozenset({5}))


def process(folder: Path, uuid: str, *threads: str) -> Path:
    """A folder like the host's /proc, with one QEMU in it."""
    tasks = folder / "4711" / "task"
    for number, name in enumerate(threads):
        (tasks / str(number)).mkdir(parents=True)
        (tasks / str(number) / "comm").write_text(f"{name}\n")
        (tasks / str(number) / "status").write_text(f"Name:\t{name}\nNSpid:\t{number}\t{number + 40}\n")
    (folder / "4711" / "cmdline").write_bytes(
        b"\0".join([b"qemu", b"-name", b"guest=web", b"-uuid", uuid.encode(), b""])
    )
    (folder / "self").mkdir()
    (folder / "1").mkdir()
    return folder


def test_the_names_of_threads_show_the_vcpus(tmp_path: Path) -> None:
    proc = process(tmp_path, UUID, "qemu-system-x86", "call_rcu", "CPU 0/TCG", "CPU 12/KVM", "IO mon_iothread")
    threads = threads_of(Processes(proc).of(UUID))
    assert vcpus_in(threads, proc) == {0, 12}
    shutil.rmtree(proc / "4711" / "task" / "3")
    assert vcpus_in(threads, proc) == {0}
    assert vcpus_in(threads, tmp_path / "nowhere") is None
    assert vcpus_in(threads_of(Processes(proc).of("another")), proc) is None


def test_the_threads_of_vcpus_have_the_ids_that_qemu_has_for_them(tmp_path: Path) -> None:
    proc = process(tmp_path, UUID, "qemu-system-x86", "CPU 0/TCG", "CPU 12/KVM")
    assert threads_of(Processes(proc).of(UUID)) == VcpuThreads(4711, {0: 41, 12: 42})
    assert threads_of(Processes(tmp_path / "nowhere").of(UUID)) == VcpuThreads()


def test_of_two_processes_with_the_same_uuid_none_is_taken_for_qemu(tmp_path: Path) -> None:
    proc = process(tmp_path, UUID, "qemu-system-x86", "CPU 0/TCG")
    (proc / "4712").mkdir()
    (proc / "4712" / "cmdline").write_bytes((proc / "4711" / "cmdline").read_bytes())
    assert threads_of(Processes(proc).of(UUID)) == VcpuThreads()


def test_a_thread_that_vcpus_share_shows_nothing(tmp_path: Path) -> None:
    proc = process(tmp_path, UUID, "qemu-system-x86", "ALL CPUs/TCG")
    assert vcpus_in(threads_of(Processes(proc).of(UUID)), proc) is None


def test_a_vcpu_removed_in_qemu_is_disabled_and_cannot_be_plugged() -> None:
    view = machine_view(record(domain({0, 1, 5}, {0, 1}), in_qemu={0, 1}))
    assert (view.live.enabled, view.live.recorded) == ({0, 1}, {0, 1, 5})
    assert view.live.cannot_enable.keys() == {5}
    assert "restart the libvirt daemon" in view.warning
    assert view.live.cannot_disable.keys() == {0, 1}


def test_without_signs_the_record_counts() -> None:
    view = machine_view(record(domain({0, 1, 5}, {0, 1})))
    assert (view.live.enabled, view.live.recorded, view.warning) == ({0, 1, 5}, None, "")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"state": run_state_of_domain(3, 1)}, "guest_not_ready"),
        ({"state": run_state_of_domain(3, 2)}, "migration_in_progress"),
        ({"migrating": True}, "migration_in_progress"),
        ({}, None),
    ],
)
def test_blockers_of_an_unplug(options: dict[str, Any], code: str | None) -> None:
    blockers = machine_view(record(domain({0, 5}, {0}), **options)).live.cannot_disable
    assert (blockers[5].code if 5 in blockers else None) == code
    assert blockers[0].code == "not_hotpluggable"


@pytest.mark.parametrize(("reason", "migrated"), [(1, False), (2, True), (3, True), (4, True), (5, False)])
def test_a_domain_whose_state_was_loaded_is_migrated(reason: int, migrated: bool) -> None:
    assert was_migrated(1, reason) is migrated
    assert not was_migrated(3, reason), "a reason of another state"
    assert machine_view(record(domain({0}, {0}), migrated=was_migrated(1, reason))).live.migrated is migrated


def test_a_machine_without_hotplug_blocks_all() -> None:
    found = domain({0, 1}, {0, 1})
    laid_out = layout_of_domain(found)
    assert laid_out is not None
    view = machine_view(Record(found, ConfigLayout(laid_out.slots, hotplug=False)))
    assert {blocker.code for blocker in view.live.cannot_enable.values()} == {"hotplug_unsupported"}
    assert {blocker.code for blocker in view.live.cannot_disable.values()} == {"hotplug_unsupported"}


# Recorded from libvirt 9.0 and 11.3, but for the read-only connection's, and the end of file, which is in its source.
@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (8, "invalid argument: vcpu '5' is already in requested state", "not_hotpluggable"),
        (8, "invalid argument: vCPU '0' can't be modified", "not_hotpluggable"),
        (8, "invalid argument: vcpu 9 is not present in persistent config", "unknown_vcpu"),
        (3, "Operation not supported: vcpu '3' can't be unplugged", "not_hotpluggable"),
        (3, "this function is not supported by the connection driver: virDomainSetVcpu", "hotplug_unsupported"),
        (55, "Requested operation is not valid: domain is not running", "guest_not_running"),
        (38, "Unable to read from monitor: Connection reset by peer", "guest_not_running"),
        (1, "internal error: End of file from qemu monitor (vm='web')", "guest_not_running"),
        (42, "Domain not found: no domain with matching name 'web'", "guest_not_found"),
        (29, "operation virDomainSetVcpu forbidden for read only access", "monitor_unreachable"),
        (68, "Timed out during operation: cannot acquire state change lock (held by monitor=x)", "monitor_busy"),
        (
            1,
            "internal error: unable to execute QEMU command 'device_del': acpi: device unplug request for not "
            "supported device type: qemu64-x86_64-cpu",
            "guest_not_ready",
        ),
    ],
)
def test_each_refusal_has_its_code_and_remedy(number: int, words: str, code: str) -> None:
    found, remedy = classify(LibvirtCallError(number, words))
    assert found == code
    assert remedy


def test_an_unknown_refusal_of_config_is_an_invalid_config() -> None:
    assert classify(LibvirtCallError(1, "something new"))[0] is None
    assert classify_config_error(LibvirtCallError(1, "something new"))[0] == "config_invalid"


def test_a_guest_that_was_undefined_meanwhile_is_not_found() -> None:
    words = "Requested operation is not valid: transient domains do not have any persistent config"
    assert classify_config_error(LibvirtCallError(55, words))[0] == "guest_not_found"


@pytest.mark.parametrize(
    ("uri", "remote"),
    [
        ("qemu:///system", False),
        ("qemu+unix:///session?socket=/run/libvirt-sock", False),
        ("qemu+ssh://root@h2/system", True),
        ("qemu+tls://h2/system", True),
        ("qemu://h2/system", True),
        ("qemu+ext:///system?command=tunnel", True),
        ("production", True),
        ("qemu://[::1/system", True),
    ],
)
def test_only_the_local_qemu_driver_is_not_remote(uri: str, remote: bool) -> None:
    assert is_remote(uri) is remote


def test_libvirts_own_timeout_leaves_the_outcome_unknown() -> None:
    words = "Timed out during operation: vcpu unplug request timed out. Unplug result must be manually inspected"
    assert LibvirtCallError(68, words).timed_out
    assert not LibvirtCallError(68, "Timed out during operation: cannot acquire state change lock").timed_out


@pytest.mark.parametrize(
    ("uri", "host"),
    [("qemu:///system", ""), ("qemu:///session?socket=/x", ""), ("qemu+ssh://root@h2/system", "h2")],
)
def test_the_host_of_a_uri(uri: str, host: str) -> None:
    assert hypervisor_of(uri) == host
