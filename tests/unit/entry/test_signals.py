# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module that receives a signal, such as Ctrl-C, ends soon, with a result that reports what was done."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ..support.faulty_peers import no_answer
from ..support.modules import start_module
from ..support.peer import Peer
from ..support.scripted_qemu import SAYS_NOTHING, Imitation

StartPeer = Callable[..., Peer]
Start = Callable[..., "subprocess.Popen[str]"]

# What is waited for takes for ever; ending takes a fraction of a second, and more on a loaded machine.
FOR_EVER = 3600
SOON = 20

DOMAIN = (
    "<domain type='kvm'><name>web1</name><memory unit='MiB'>256</memory><vcpu current='2'>8</vcpu>"
    "<os><type arch='x86_64' machine='q35'>hvm</type></os><cpu><topology sockets='4' cores='2' threads='1'/></cpu>"
    "</domain>\n"
)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a module in a process of its own, which ends with the test."""
    with contextlib.ExitStack() as processes:

        def started(module: str, **options: Any) -> subprocess.Popen[str]:
            process = processes.enter_context(start_module(module, **{"details": "full", **options}))
            processes.callback(process.kill)
            return process

        yield started


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def opened(process: subprocess.Popen[str]) -> set[Path]:
    """The files that the process has open; one that it closes meanwhile is left out."""
    files = set()
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            files.add(link.readlink())
    return files


def ended(process: subprocess.Popen[str], *signals: int) -> dict[str, Any]:
    """Send the signals, and return the result."""
    for number in signals:
        process.send_signal(number)
    out, err = process.communicate(timeout=SOON)
    assert err == ""
    assert process.returncode == 1
    result: dict[str, Any] = json.loads(out)
    assert result["failed"] is True
    assert "exception" not in result or "Traceback" not in str(result["exception"])
    return result


def steps(result: dict[str, Any]) -> list[str]:
    return [f"{step['step']} {step['vcpus']}: {step['status']}" for step in result["steps"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_that_waits_for_an_unplug_ends_with_what_it_has_reached(
    peer: StartPeer, number: signal.Signals, start: Start
) -> None:
    qemu = peer(Imitation(plugged=(0, 1, 2), unplug={1: SAYS_NOTHING}))
    process = start("vcpu", qmp_socket=qemu.address, enabled="0", timeout=FOR_EVER)
    wait_until(lambda: "device_del vcpu1" in qemu.changes)
    result = ended(process, number)
    assert result["error_code"] == "connection_lost"
    assert f"interrupted by signal {number.name}" in result["msg"]
    assert result["changed"] is True
    assert steps(result) == ["unplug 2: done", "unplug 1: pending"]
    assert "may still carry it out" in result["steps"][1]["detail"]
    assert [vcpu["id"] for vcpu in result["vcpus"] if vcpu["live"] == "enabled"] == [0, 1]


def test_a_run_that_waits_for_its_only_unplug_has_changed_nothing(peer: StartPeer, start: Start) -> None:
    qemu = peer(Imitation(unplug={1: SAYS_NOTHING}))
    process = start("vcpu", qmp_socket=qemu.address, count=1, timeout=FOR_EVER)
    wait_until(lambda: qemu.changes != [])
    result = ended(process, signal.SIGTERM)
    assert result["changed"] is False
    assert steps(result) == ["unplug 1: pending"]


def test_a_run_that_waits_for_an_acknowledgement_reports_the_plug(peer: StartPeer, start: Start) -> None:
    qemu = peer(Imitation(plug={5: SAYS_NOTHING}))
    process = start("vcpu", qmp_socket=qemu.address, enabled="0-1,5", timeout=FOR_EVER)
    wait_until(lambda: qemu.changes != [])
    wait_until(lambda: qemu.commands.count("query-acpi-ospm-status") > 1)
    result = ended(process, signal.SIGINT)
    assert result["changed"] is True
    assert steps(result) == ["plug 5: done"]
    assert result["error_code"] == "connection_lost"


def test_further_signals_do_not_disturb_the_end_of_a_run(peer: StartPeer, start: Start) -> None:
    qemu = peer(Imitation(unplug={1: SAYS_NOTHING}))
    process = start("vcpu", qmp_socket=qemu.address, count=1, timeout=FOR_EVER)
    wait_until(lambda: qemu.changes != [])
    result = ended(process, signal.SIGINT, signal.SIGTERM, signal.SIGINT)
    assert steps(result) == ["unplug 1: pending"]


@pytest.mark.parametrize("module", ["vcpu", "vcpu_info"])
def test_a_run_that_observes_ends_and_has_changed_nothing(peer: StartPeer, module: str, start: Start) -> None:
    qemu = peer(Imitation().but("query-status", no_answer))
    process = start(module, qmp_socket=qemu.address, timeout=FOR_EVER, **({"count": 1} if module == "vcpu" else {}))
    wait_until(lambda: "query-status" in qemu.commands)
    result = ended(process, signal.SIGTERM)
    assert result["error_code"] == "connection_lost"
    assert result["changed"] is False
    assert result.get("steps", []) == []
    assert qemu.changes == []


def test_a_run_that_waits_for_a_lock_ends_and_never_writes(peer: StartPeer, tmp_path: Path, start: Start) -> None:
    file = tmp_path / "web1.xml"
    file.write_text(DOMAIN)
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = start("vcpu", domain_xml=str(file), probe="never", count=4, timeout=FOR_EVER)
        # It is open while it is read, for a moment, and while its lock is waited for.
        for _time in range(20):
            wait_until(lambda: file in opened(process))
            time.sleep(0.05)
        result = ended(process, signal.SIGTERM)
    assert result["changed"] is False
    assert {step["status"] for step in result["steps"]} == {"failed"}
    assert file.read_text() == DOMAIN
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("limits", [{}, {"max_overcommit": 100}], ids=["at once", "judged first"])
def test_a_batch_ends_each_guest_with_what_it_has_reached(
    peer: StartPeer, limits: dict[str, Any], start: Start
) -> None:
    done, waiting, rest = (
        peer(Imitation(unplug=unplug, answers={"query-name": {"return": {"name": name}}}))
        for name, unplug in (("done", {}), ("waiting", {1: SAYS_NOTHING}), ("rest", {}))
    )
    process = start(
        "vcpu_batch",
        guests=[
            {"qmp_socket": done.address, "count": 3},
            {"qmp_socket": waiting.address, "count": 1},
            {"qmp_socket": rest.address, "count": 3},
        ],
        defaults={"timeout": FOR_EVER},
        max_concurrency=1,
        **limits,
    )
    wait_until(lambda: waiting.changes != [])
    result = ended(process, signal.SIGINT)
    assert result["error_code"] == "connection_lost"
    assert result["changed"] is True
    assert [guest["changed"] for guest in result["guests"]] == [True, False, False]
    assert [guest["failed"] for guest in result["guests"]] == [False, True, False]
    assert [guest["skipped"] for guest in result["guests"]] == [False, False, True]
    assert steps(result["guests"][1]) == ["unplug 1: pending"]
    assert rest.changes == []


def test_a_batch_that_has_started_no_guest_fails_too(peer: StartPeer, start: Start) -> None:
    qemu = peer(Imitation().but("query-status", no_answer))
    guests = [{"qmp_socket": qemu.address, "count": 3}, {"qmp_socket": peer(Imitation()).address, "count": 3}]
    process = start("vcpu_batch", guests=guests, max_concurrency=1, defaults={"timeout": FOR_EVER})
    wait_until(lambda: "query-status" in qemu.commands)
    result = ended(process, signal.SIGTERM)
    assert "interrupted by signal SIGTERM" in result["msg"]
    assert result["error_code"] == "connection_lost"
    assert result["changed"] is False
    assert result["summary"]["skipped"] == 2


AFTER_THE_WORK = """
import asyncio, os, signal
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.signals import run_until_signal

def interrupt():
    os.kill(os.getpid(), signal.{name})

async def work():
    return "done"

async def end(interruption):
    result = await interruption.until(work)
    interrupt()
    # What still has to be done, such as closing connections.
    await asyncio.sleep(0.1)
    return result

found = run_until_signal(end)
interrupt()
print(found)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_after_the_work_does_not_prevent_the_result(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AFTER_THE_WORK.format(name=name)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
