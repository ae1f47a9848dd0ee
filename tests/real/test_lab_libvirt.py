# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The laboratory's libvirts: their domains, the observers of these, and that nothing remains of them."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any, Callable

import pytest

from lab import LabError, binaries, linux_behaviours, observer, processes
from lab.daemon import Daemon
from lab.domains import LibvirtGuest
from lab.ospm_domain import OspmDomain
from lab.software import bindings

Domains = Callable[..., LibvirtGuest]
OspmDomains = Callable[..., OspmDomain]

TESTS = pathlib.Path(__file__).parents[1]
TWO_CELLS: dict[str, Any] = {
    "topology": {"sockets": 4, "cores": 2, "threads": 1},
    "numa": [{"sockets": [0, 1]}, {"sockets": [2, 3]}],
}
HOSTS = ("/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/run/libvirt", "/usr/share/libvirt")
PATIENCE = 30


def on_the_host() -> dict[str, float]:
    found = [path for folder in HOSTS for path in (pathlib.Path(folder), *pathlib.Path(folder).rglob("*"))]
    return {os.fspath(path): path.lstat().st_mtime for path in found if path.exists()}


BEFORE = on_the_host()


def wait_enabled(guest: LibvirtGuest, vcpus: list[int]) -> None:
    observer.wait_enabled(guest.observer, vcpus)
    deadline = time.monotonic() + PATIENCE
    while len(observer.guest_cpus(guest)) != len(vcpus):
        assert time.monotonic() < deadline, f"the guest runs on {observer.guest_cpus(guest)}"
        time.sleep(0.05)


def wait_until_ended(*pids: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(processes.started(pid) for pid in pids):
        assert time.monotonic() < deadline, f"{pids} are still there"
        time.sleep(0.05)


def test_a_domain_is_ready_soon_and_shell_and_monitor_agree(domain: Domains) -> None:
    guest = domain(**TWO_CELLS)
    assert (guest.state, guest.shell("echo $((6 * 7))")) == ("running", "42\n")
    assert observer.enabled_ids(guest.observer) == observer.guest_cpus(guest) == [0, 1]
    assert observer.ids_by_node(guest.observer) == {0: [0, 1, 2, 3], 1: [4, 5, 6, 7]}
    told = guest.observer.execute("query-uuid")["UUID"]
    assert told == guest.uuid


@pytest.mark.parametrize("qemu", binaries.qemus(), ids=str)
def test_the_monitor_shows_what_virsh_plugs(domain: Domains, qemu: binaries.Qemu) -> None:
    guest = domain(**TWO_CELLS, qemu=qemu)
    assert guest.observer.greeting["QMP"]["version"]["qemu"]["major"] == qemu.version[0]
    # With older ones, guests do not get over vCPUs that leave gaps.
    plugged, node = (4, 1) if qemu.version >= binaries.UNPLUGS_WELL else (2, 0)
    guest.virsh("setvcpu", str(plugged), "--enable", "--live")
    wait_enabled(guest, [0, 1, plugged])
    assert linux_behaviours.guest_cpu(guest, guest.observer, plugged) in observer.guest_nodes(guest)[node]
    said = f"<vcpu id='{plugged}' enabled='yes'"
    assert (said in guest.xml(), said in guest.xml(inactive=True)) == (True, False)


def test_libvirt_detects_an_unplug_as_with_kvm(daemon: Daemon, ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(**TWO_CELLS, accel="tcg", as_kvm=True)
    for restarted in (False, True):
        if restarted:
            daemon.restart()
        since = len(guest.ospm.facts)
        guest.virsh("setvcpu", "4", "--enable", "--live")
        guest.ospm.wait("ost 4 1 0", since=since)
        guest.virsh("setvcpu", "4", "--disable", "--live")
        assert "<vcpu id='4' enabled='no'" in guest.xml()
        observer.wait_enabled(guest.observer, [0, 1])
    guest.managedsave()
    guest.start()
    guest.wait_ready()


def test_libvirt_does_not_detect_an_unplug_under_tcg(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(**TWO_CELLS, accel="tcg", as_kvm=False)
    guest.virsh("setvcpu", "4", "--enable", "--live")
    guest.ospm.wait("ost 4 1 0")
    with pytest.raises(LabError, match="vcpu unplug request timed out"):
        guest.virsh("setvcpu", "4", "--disable", "--live")
    observer.wait_enabled(guest.observer, [0, 1])
    assert "<vcpu id='4' enabled='yes'" in guest.xml()


def test_libvirt_finds_its_domains_again(daemon: Daemon, ospm_domain: OspmDomains) -> None:
    guest = ospm_domain()
    found = guest.pid
    for hard in (True, False):
        before = daemon.pid
        daemon.restart(hard)
        assert (daemon.pid != before, guest.pid, guest.state) == (True, found, "running")
    daemon.stop_daemon()
    assert guest.ospm.state().endswith(" idle")
    assert observer.enabled_ids(guest.observer) == [0, 1]
    with pytest.raises(LabError, match=r"libvirt-sock|is not running"):
        guest.virsh("domstate")
    daemon.start_daemon()
    assert guest.state == "running"


def test_a_domain_is_saved_and_restored(domain: Domains) -> None:
    guest = domain(agent=True)
    guest.shell("echo remembered > /run/note")
    before = guest.pid
    guest.managedsave()
    assert guest.state == "shut off"
    with pytest.raises(LabError, match="is shut off"):
        guest.shell("true")
    guest.start()
    assert guest.pid != before
    assert guest.shell("cat /run/note") == "remembered\n"
    assert "vcpus" in guest.virsh("guestvcpus")


def test_a_domain_is_suspended_resumed_destroyed_and_started(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(paused=True)
    assert (guest.state, guest.observer.execute("query-status")["status"]) == ("paused", "prelaunch")
    guest.resume()
    guest.wait_ready()
    guest.suspend()
    assert (guest.state, guest.observer.execute("query-status")["running"]) == ("paused", False)
    guest.destroy()
    assert guest.state == "shut off"
    guest.start()
    assert observer.enabled_ids(guest.observer) == [0, 1]


def test_a_domain_can_be_transient_shut_off_or_without_a_system(daemon: Daemon, domain: Domains) -> None:
    transient = domain(transient=True, boot=False, vcpus="<vcpu>2</vcpu>")
    assert (transient.state, daemon.virsh("list", "--persistent", "--name").split()) == ("running", [])
    assert observer.enabled_ids(transient.observer) == [0, 1]
    off = domain(start=False, rest="<cputune><vcpupin vcpu='5' cpuset='0'/></cputune>")
    assert (off.state, "vcpupin" in off.xml()) == ("shut off", True)
    transient.destroy()
    assert daemon.virsh("list", "--all", "--name").split() == [off.name]


def test_the_files_of_the_tests_are_removed(daemon: Daemon) -> None:
    assert daemon.virsh("list", "--all", readonly=True).strip() == ""
    left = [path for path in (daemon.folder / "guests").iterdir() if not path.name.startswith("saved-")]
    assert left == []


def test_this_process_can_be_a_client(daemon: Daemon, domain: Domains) -> None:
    if not bindings():
        pytest.skip("the distribution's bindings are for another Python")
    import libvirt
    import libvirt_qemu

    guest = domain(boot=False)
    connection = libvirt.open(daemon.uri)
    found = connection.lookupByUUIDString(guest.uuid)
    assert found.name() == guest.name
    told = json.loads(libvirt_qemu.qemuMonitorCommand(found, '{"execute": "query-status"}', 0))
    assert told["return"]["running"]
    connection.close()


def test_a_program_of_the_distributions_python_can_be_a_client(daemon: Daemon) -> None:
    script = "import libvirt, libvirt_qemu, lxml.etree, sys; print(libvirt.openReadOnly(sys.argv[1]).getLibVersion())"
    told = subprocess.run(
        [daemon.python, "-c", script, daemon.uri], env=daemon.environment, capture_output=True, text=True, check=True
    )
    major, minor, micro = daemon.version
    assert int(told.stdout) == major * 1000000 + minor * 1000 + micro


def test_a_killed_test_leaves_no_libvirtd_and_no_qemu() -> None:
    script = (
        "import time; from lab.daemon import Daemon; from lab.domains import LibvirtGuest\n"
        "with Daemon() as daemon, LibvirtGuest(daemon, boot=False) as guest:\n"
        "    print(daemon.pid, guest.pid, daemon.folder, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.fspath(TESTS)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        libvirtd, qemu, folder = parent.stdout.readline().split()
        assert processes.started(int(libvirtd))
        assert processes.started(int(qemu))
        parent.kill()
    wait_until_ended(int(libvirtd), int(qemu))
    deadline = time.monotonic() + PATIENCE
    while pathlib.Path(folder).exists():
        assert time.monotonic() < deadline, f"{folder} is still there"
        time.sleep(0.05)


def test_the_commands_start_use_and_stop_a_libvirtd(tmp_path: pathlib.Path) -> None:
    def lab(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lab", *words], check=False, cwd=TESTS, capture_output=True, text=True
        )

    folder = os.fspath(tmp_path)
    started = lab("libvirtd", "start", folder)
    assert started.returncode == 0, started.stderr
    try:
        state = json.loads(started.stdout)
        assert "is running in" in lab("libvirtd", "start", folder).stderr
        made = lab("domain", folder, "web", "--vcpus", "<vcpu current='1'>2</vcpu>")
        assert made.returncode == 0, made.stderr
        guest = json.loads(made.stdout)
        assert lab("shell", guest["shell_socket"], "cat /sys/devices/system/cpu/online").stdout == "0\n"
        with observer.Monitor(guest["observer_socket"]) as monitor:
            assert observer.enabled_ids(monitor) == [0]
    finally:
        stopped = lab("libvirtd", "stop", folder)
    assert stopped.returncode == 0, stopped.stderr
    assert not any(processes.started(pid) for pid in (state["pid"], state["keeper"], guest["pid"]))
    assert not pathlib.Path(state["folder"]).exists()
    assert lab("libvirtd", "stop", folder).stderr == "it was not running\n"


def test_the_host_has_no_files_or_processes_of_the_laboratory() -> None:
    assert on_the_host() == BEFORE
