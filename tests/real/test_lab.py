# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The laboratory itself: its guests and its observers, before other tests rely on them."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any, Callable

import pytest

from lab import LabError, binaries, booted, image, linux_behaviours, observer
from lab.contact import ShellError
from lab.guest import Guest

Boot = Callable[..., Guest]

TESTS = pathlib.Path(__file__).parents[1]
TWO_NODES: dict[str, Any] = {
    "smp": "2,sockets=4,cores=2,threads=1,maxcpus=8",
    "numa": [{"sockets": [0, 1]}, {"sockets": [2, 3]}],
}
ACKNOWLEDGED = 30
RUN: dict[str, Any] = {"cwd": TESTS, "capture_output": True, "text": True}


def wait_guest_cpus(guest: Guest, count: int) -> None:
    deadline = time.monotonic() + ACKNOWLEDGED
    while len(observer.guest_cpus(guest)) != count:
        assert time.monotonic() < deadline, f"the guest runs on {observer.guest_cpus(guest)}"
        time.sleep(0.05)


def plug(guest: Guest, vcpu: int) -> None:
    online = len(observer.guest_cpus(guest))
    observer.plug(guest.observer, vcpu)
    guest.observer.wait_event("ACPI_DEVICE_OST", ACKNOWLEDGED, source=1, slot=str(vcpu))
    wait_guest_cpus(guest, online + 1)


def unplug(guest: Guest, vcpu: int) -> int:
    """Ask for one vCPU and return the status the guest ends with."""
    since = len(guest.observer.events)
    guest.observer.execute("device_del", id=f"vcpu{vcpu}")
    while True:
        event = guest.observer.wait_event("ACPI_DEVICE_OST", ACKNOWLEDGED, since, source=3, slot=str(vcpu))
        status = int(event["data"]["info"]["status"])
        if status != 132:
            return status
        since = guest.observer.events.index(event, since) + 1


def is_running(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until_ended(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, f"QEMU {pid} is still there"
        time.sleep(0.05)


@pytest.mark.parametrize("qemu", binaries.qemus(), ids=str)
def test_a_guest_is_ready_soon_and_shell_and_monitor_agree(boot: Boot, qemu: binaries.Qemu) -> None:
    guest = boot(**TWO_NODES, qemu=qemu)
    assert guest.shell("echo $((6 * 7))") == "42\n"
    assert observer.enabled_ids(guest.observer) == observer.guest_cpus(guest) == [0, 1]
    assert observer.possible_ids(guest.observer) == list(range(8))
    assert observer.ids_by_node(guest.observer) == {0: [0, 1, 2, 3], 1: [4, 5, 6, 7]}
    plug(guest, 2)
    assert observer.enabled_ids(guest.observer) == observer.guest_cpus(guest) == [0, 1, 2]
    assert unplug(guest, 2) == 0
    assert observer.enabled_ids(guest.observer) == observer.guest_cpus(guest) == [0, 1]


def test_the_guest_detects_a_vcpu_on_the_node_of_its_slot(boot: Boot) -> None:
    guest = boot(**TWO_NODES)
    plug(guest, 5)
    cpu = linux_behaviours.guest_cpu(guest, guest.observer, 5)
    assert cpu in (2, 5), "the guest counts for itself: as they come, or since Linux 6.9 by place"
    assert observer.guest_nodes(guest) == {0: [0, 1], 1: [cpu]}
    place = observer.guest_topology(guest)[cpu]
    assert (place.package, place.core, place.node) == (2, 1, 1)
    assert unplug(guest, 5) == 0
    assert observer.enabled_ids(guest.observer) == observer.guest_cpus(guest) == [0, 1]


def test_the_shell_survives_what_commands_print(boot: Boot) -> None:
    guest = boot(smp="1")
    assert guest.shell("printf '\\001LAB 0 0 9\\n\\n'; printf 'no newline'") == "\x01LAB 0 0 9\n\nno newline"
    assert guest.shell("echo '%s \\n \"$HOME\" ü'") == '%s \\n "$HOME" ü\n'
    assert len(guest.shell("head -c 300000 /dev/zero | tr '\\0' x")) == 300000
    with pytest.raises(ShellError, match="gone wrong") as caught:
        guest.shell("echo gone wrong >&2; exit 7")
    assert caught.value.status == 7
    with pytest.raises(TimeoutError):
        guest.shell("sleep 2; echo late", timeout=0.5)
    assert guest.shell("echo in time") == "in time\n"


def test_without_the_onliner_a_plugged_vcpu_stays_offline(boot: Boot) -> None:
    guest = boot(**TWO_NODES, append="lab.onliner=0")
    observer.plug(guest.observer, 2)
    guest.observer.wait_event("ACPI_DEVICE_OST", ACKNOWLEDGED, source=1)
    time.sleep(0.5)
    assert (observer.guest_cpus(guest, "present"), observer.guest_cpus(guest)) == ([0, 1, 2], [0, 1])


def test_a_guest_refuses_as_commanded(boot: Boot) -> None:
    guest = boot(**TWO_NODES)
    for vcpu in (2, 3):
        plug(guest, vcpu)
    linux_behaviours.refuse(guest, 2)
    assert [unplug(guest, 2) for _asking in range(3)] == [130, 130, 130]
    assert unplug(guest, 3) == 0, "only the one is refused"
    linux_behaviours.allow(guest, 2)
    linux_behaviours.refuse(guest, 2, times=1)
    assert unplug(guest, 2) == 130
    time.sleep(0.5)
    linux_behaviours.forbid_ejects(guest)
    assert unplug(guest, 2) == 128
    linux_behaviours.forbid_ejects(guest, False)
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]
    assert unplug(guest, 2) == 0
    assert observer.enabled_ids(guest.observer) == observer.guest_cpus(guest) == [0, 1]


def test_a_guest_delays_an_unplug_until_commanded(boot: Boot) -> None:
    guest = boot(**TWO_NODES)
    plug(guest, 2)
    linux_behaviours.delay_unplugs(guest, 2)
    guest.observer.execute("device_del", id="vcpu2")
    guest.observer.wait_event("ACPI_DEVICE_OST", ACKNOWLEDGED, source=3, status=132)
    assert guest.observer.listen(3) == []
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]
    linux_behaviours.stop_delaying(guest, 2)
    observer.wait_enabled(guest.observer, [0, 1])


def test_a_guest_in_its_firmware_and_one_not_started_acknowledge_no_eject(boot: Boot) -> None:
    for options in ({"boot": False}, {"paused": True}):
        guest = boot(**TWO_NODES, **options)
        assert guest.observer.execute("query-acpi-ospm-status") == []
        with pytest.raises(observer.MonitorError, match="not supported device type"):
            guest.observer.execute("device_del", id=observer.slot_of(guest.observer, 1)["qom-path"])
        guest.stop()


def test_a_paused_guest_continues_to_boot(boot: Boot) -> None:
    guest = boot(smp="2", paused=True)
    assert guest.observer.execute("query-status")["status"] == "prelaunch"
    guest.observer.execute("cont")
    guest.wait_ready()


def test_a_guest_has_an_agent_and_a_monitor_on_tcp(boot: Boot) -> None:
    guest = boot(smp="2", agent=True, tcp_monitor=True, append="lab.ga=-b lab.ga=guest-file-open")
    assert str(guest.tcp_monitor).startswith("127.0.0.1:")
    running = guest.shell("tr '\\0' ' ' < /proc/$(pidof qemu-ga)/cmdline")
    assert running.endswith("-b guest-file-open ")


def test_a_saved_state_with_a_cpu_that_does_not_wake_is_removed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = booted.SavedStates(tmp_path / "states")
    states.folder.mkdir()
    options = {"smp": "2"}
    # One that is asked for the first time boots.
    booted.guest(tmp_path / "boots", states, options)
    with booted.guest(tmp_path / "continues", states, options) as guest:
        guest.wait_ready()
        monkeypatch.setattr(booted, "SLEEP_ON_EACH_CPU", "sleep 1000")
        monkeypatch.setattr(booted, "TIMER_LIMIT", 1)
        with pytest.raises(LabError, match="runs no timer"):
            guest.wait_ready()
    assert [path.suffix for path in states.folder.iterdir()] == [".lock"]


def test_sockets_are_short_whatever_the_folder(boot: Boot, tmp_path: pathlib.Path) -> None:
    with Guest(tmp_path / ("long" * 30), smp="1", boot=False) as guest:
        folder = pathlib.Path(guest.qmp_socket).parent
        assert guest.observer.execute("query-status")["running"]
    assert not folder.exists()


def test_the_error_contains_the_output_of_qemu(tmp_path: pathlib.Path) -> None:
    with pytest.raises(LabError, match=r"smp\.cpus"), Guest(tmp_path, smp="invalid_reply"):
        pass


def test_a_killed_parent_leaves_no_qemu(tmp_path: pathlib.Path) -> None:
    script = (
        "import sys, time; from lab.guest import Guest\n"
        "with Guest(sys.argv[1], smp='1', boot=False) as guest:\n"
        "    print(guest.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, os.fspath(tmp_path)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(TESTS)}, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.send_signal(signal.SIGKILL)
    wait_until_ended(pid)


def test_the_commands_boot_use_and_stop_a_guest(tmp_path: pathlib.Path) -> None:
    def lab(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "lab", *words], check=False, **RUN)

    folder = os.fspath(tmp_path)
    booted = lab("boot", folder, "--numa", "sockets=0-1", "--numa", "sockets=2,3")
    assert booted.returncode == 0, booted.stderr
    state = json.loads(booted.stdout)
    try:
        assert lab("shell", folder, "cat /sys/devices/system/cpu/online").stdout == "0-1\n"
        assert lab("shell", folder, "exit 3").returncode == 3
        with observer.Monitor(state["qmp_socket"]) as monitor:
            assert observer.ids_by_node(monitor) == {0: [0, 1, 2, 3], 1: [4, 5, 6, 7]}
        assert "is running in" in lab("boot", folder).stderr
    finally:
        assert lab("stop", folder).returncode == 0
    assert not is_running(state["pid"])
    assert lab("stop", folder).stderr == "it was not running\n"


def test_preparing_again_prints_nothing() -> None:
    image.image()
    done = subprocess.run([sys.executable, "-m", "lab", "prepare"], check=False, **RUN)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
