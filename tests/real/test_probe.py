# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The temporary QEMU of a probe: its replies, its failures, and that nothing remains of it."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import (
    ConfigLayout,
    layout_of_domain,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.probe import probe
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Cell, Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    BACKEND_MISSING,
    CONFIG_INVALID,
    HotplugError,
)
from lab import binaries

from .conftest import needs_ppc64

TIMEOUT = 20.0
FOUR = Domain(max_vcpus=4, enabled=frozenset([0]), arch="x86_64", machine="q35")
KIB = 1024
# Started as a module is; it says when it waits for QEMU.
PROBER = """
import asyncio, signal, sys
# A shell in the background starts what it starts with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = sys.argv[2:]
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.probe import probe
print("probing", flush=True)
asyncio.run(probe(sys.argv[1], Domain(max_vcpus=4, enabled=frozenset([0]), arch="x86_64", machine="q35"), 60.0))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kvm.hotplug"


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the probe makes its private folders: short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def emulator(folder: Path, qemu: binaries.Qemu) -> str:
    """A program that is this QEMU and counts how often it was started."""
    settings = [f"{key}={qemu.environment[key]}" for key in ("LD_LIBRARY_PATH", "QEMU_MODULE_DIR") if qemu.root]
    command = shlex.join(["env", *settings, *qemu.command])
    folder.mkdir(exist_ok=True)
    return script(folder / "qemu", f'echo $$ >> "{folder}/starts"; exec {command} "$@"')


def starts(folder: Path) -> list[int]:
    file = folder / "starts"
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


def ask(binary: str, domain: Domain, timeout: float = TIMEOUT) -> ConfigLayout:
    return asyncio.run(probe(binary, domain, timeout))


def refusal(binary: str, domain: Domain = FOUR, timeout: float = TIMEOUT) -> HotplugError:
    with pytest.raises(HotplugError) as caught:
        ask(binary, domain, timeout)
    return caught.value


def is_gone(pid: int, patience: float = 5) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def awaited_start(folder: Path, patience: float = 10) -> int:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if starts(folder):
            return starts(folder)[0]
        time.sleep(0.01)
    raise TimeoutError


@pytest.mark.parametrize("qemu", binaries.qemus(), ids=str)
@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_the_reply_equals_the_derived_layout(
    tmp_path: Path, temporary: Path, qemu: binaries.Qemu, machine: str
) -> None:
    domain = Domain(
        max_vcpus=8,
        enabled=frozenset([0, 5]),
        arch="x86_64",
        machine=machine,
        cpu_mode="custom",
        cpu_model="EPYC",
        topology={"sockets": 2, "dies": 2, "clusters": 1, "cores": 1, "threads": 2},
        cells=(Cell(0, frozenset([0, 1, 2, 7]), KIB), Cell(1, frozenset([3, 5]), KIB), Cell(2, None, 0)),
    )
    binary = emulator(tmp_path / "q", qemu)
    assert ask(binary, domain) == layout_of_domain(domain)
    assert is_gone(starts(tmp_path / "q")[0])
    assert list(temporary.iterdir()) == []


@needs_ppc64
def test_an_alias_of_a_pseries_model_is_resolved(tmp_path: Path) -> None:
    domain = Domain(
        max_vcpus=8,
        enabled=frozenset(range(4)),
        arch="ppc64le",
        machine="pseries",
        cpu_model="POWER9",
        topology={"sockets": 2, "cores": 1, "threads": 4},
        cells=(Cell(0, frozenset(range(4, 8)), KIB), Cell(1, frozenset(range(4)), KIB)),
    )
    answer = ask(emulator(tmp_path / "q", binaries.default("ppc64")), domain)
    derived = layout_of_domain(domain)
    assert derived is not None
    assert answer.layout == derived.layout
    assert [dict(slot.props) for slot in answer.slots] == [dict(slot.props) for slot in derived.slots]
    assert {slot.driver for slot in derived.slots} == {""}
    assert {slot.driver for slot in answer.slots} == {"power9_v2.2-spapr-cpu-core"}


@pytest.mark.parametrize("qemu", binaries.qemus(), ids=str)
def test_a_machine_without_hotplug_is_reported(tmp_path: Path, qemu: binaries.Qemu) -> None:
    domain = Domain(max_vcpus=4, enabled=frozenset([0]), arch="x86_64", machine="microvm")
    answer = ask(emulator(tmp_path / "q", qemu), domain)
    assert (answer.hotplug, answer.layout.max_vcpus, answer.layout.entity_size) == (False, 4, 1)


def test_a_model_that_needs_kvm_is_not_needed_for_the_slots(tmp_path: Path) -> None:
    domain = Domain(max_vcpus=2, enabled=frozenset([0]), arch="x86_64", machine="q35", cpu_mode="host-passthrough")
    assert ask(emulator(tmp_path / "q", binaries.default()), domain) == layout_of_domain(domain)


def test_the_same_probe_starts_no_second_qemu(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "q"
    binary = emulator(folder, binaries.default())
    first = ask(binary, FOUR)
    assert ask(binary, FOUR) == first
    assert len(starts(folder)) == 1
    assert cache.stat().st_mode & 0o777 == 0o700

    ask(binary, Domain(max_vcpus=2, enabled=frozenset([0]), arch="x86_64", machine="q35"))
    assert len(starts(folder)) == 2, "another domain is another question"
    os.utime(binary)
    ask(binary, FOUR)
    assert len(starts(folder)) == 3, "another binary is another question"


def damaged(text: str) -> list[str]:
    kept = json.loads(text)
    others = [{**kept, "answer": answer} for answer in ("", [], 7, {"slots": 1}, [{}], kept["answer"][1:])]
    return ["", "{", "[]", "[" * 100000, text[:-9], *(json.dumps(other) for other in others)]


def test_a_damaged_cache_is_not_used(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "q"
    binary = emulator(folder, binaries.default())
    expected = ask(binary, FOUR)
    (file,) = cache.iterdir()
    for text in damaged(file.read_text()):
        file.write_text(text)
        before = len(starts(folder))
        assert ask(binary, FOUR) == expected
        assert len(starts(folder)) == before + 1


def test_a_cache_that_others_can_write_is_not_used(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "q"
    binary = emulator(folder, binaries.default())
    ask(binary, FOUR)
    (file,) = cache.iterdir()
    file.chmod(0o666)
    ask(binary, FOUR)
    assert len(starts(folder)) == 2
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    ask(binary, FOUR)
    assert len(starts(folder)) == 3
    cache.chmod(0o777)
    for kept in cache.iterdir():
        kept.unlink()
    ask(binary, FOUR)
    assert list(cache.iterdir()) == []


def test_a_missing_place_for_the_cache_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    binary = emulator(tmp_path / "q", binaries.default())
    assert ask(binary, FOUR) == ask(binary, FOUR)
    assert len(starts(tmp_path / "q")) == 2


def test_a_missing_qemu_is_reported_with_the_option_to_set() -> None:
    for binary in ("/nonexistent/qemu", "qemu-system-none", "/etc/passwd", "/tmp", ""):
        error = refusal(binary)
        assert (error.code, "emulator" in error.msg) == (BACKEND_MISSING, True)


def test_a_refusal_of_qemu_is_quoted(tmp_path: Path, cache: Path) -> None:
    binary = emulator(tmp_path / "q", binaries.default())
    options: Any = {"max_vcpus": 2, "enabled": frozenset([0]), "arch": "x86_64"}
    error = refusal(binary, Domain(**options, machine="pc-q35-99.9"))
    assert (error.code, 'unsupported machine type: "pc-q35-99.9"' in error.msg) == (CONFIG_INVALID, True)
    error = refusal(binary, Domain(**options, machine="q35", cpu_model="Pentium9"))
    assert (error.code, "Pentium9" in error.msg) == (CONFIG_INVALID, True)
    assert not cache.exists()


@pytest.mark.parametrize("word", ["q35,dumpdtb=/tmp/x", "q35 -daemonize", "", "q35\n"])
def test_a_name_cannot_add_an_option(tmp_path: Path, word: str) -> None:
    binary = emulator(tmp_path / "q", binaries.default())
    for names in ({"machine": word}, {"machine": "q35", "cpu_model": word}):
        domain = Domain(max_vcpus=2, enabled=frozenset([0]), arch="x86_64", **names)
        assert refusal(binary, domain).code == CONFIG_INVALID
    assert starts(tmp_path / "q") == []


def test_a_qemu_that_hangs_is_ended_in_time(tmp_path: Path, temporary: Path) -> None:
    binary = script(
        tmp_path / "hangs", f'echo $$ >> "{tmp_path}/starts"; sleep 1000 & echo $! >> "{tmp_path}/starts"; wait'
    )
    began = time.monotonic()
    error = refusal(binary, timeout=1.0)
    assert time.monotonic() - began < 4
    assert (error.code, "1 s" in error.msg) == (BACKEND_MISSING, True)
    assert len(starts(tmp_path)) == 2
    assert all(is_gone(pid) for pid in starts(tmp_path))
    assert list(temporary.iterdir()) == []


def test_a_qemu_that_prints_endless_garbage_uses_no_memory_and_is_ended(tmp_path: Path) -> None:
    binary = script(tmp_path / "garbage", f'echo $$ >> "{tmp_path}/starts"; exec cat /dev/zero')
    assert refusal(binary, timeout=1.0).code == BACKEND_MISSING
    assert is_gone(starts(tmp_path)[0])


@pytest.mark.parametrize("status", [0, 3, 127])
def test_a_binary_that_ends_immediately_is_no_qemu(tmp_path: Path, status: int) -> None:
    began = time.monotonic()
    error = refusal(script(tmp_path / "ends", f"exit {status}"))
    assert time.monotonic() - began < 5
    assert (error.code, f"status {status}" in error.msg) == (BACKEND_MISSING, True)


def test_a_qemu_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(b"\x7fELF" + bytes(60))
    path.chmod(0o755)
    error = refusal(str(path))
    assert (error.code, "Exec format error" in error.msg) == (BACKEND_MISSING, True)


def test_a_binary_with_an_invalid_monitor_is_no_qemu(tmp_path: Path) -> None:
    server = tmp_path / "server.py"
    server.write_text(
        "import re, socket, sys, time\n"
        "path = re.search(r'path=([^,]+)', ' '.join(sys.argv)).group(1)\n"
        "listener = socket.socket(socket.AF_UNIX)\n"
        "listener.bind(path)\n"
        "listener.listen()\n"
        "while True:\n"
        "    client = listener.accept()[0]\n"
        "    client.sendall(b'hello\\r\\n')\n"
    )
    assert refusal(script(tmp_path / "odd", f'exec {sys.executable} {server} "$@"')).code == BACKEND_MISSING


def test_a_cancelled_probe_leaves_no_process_or_file(tmp_path: Path, temporary: Path) -> None:
    binary = script(tmp_path / "hangs", f'echo $$ >> "{tmp_path}/starts"; exec sleep 1000')

    async def cancelled() -> None:
        task = asyncio.ensure_future(probe(binary, FOUR, 60.0))
        await asyncio.to_thread(awaited_start, tmp_path)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert is_gone(starts(tmp_path)[0])
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_a_module_that_is_killed_leaves_no_qemu(tmp_path: Path, number: signal.Signals) -> None:
    # A real QEMU that never gets to its monitor, since it waits for a client of its own first.
    folder = tmp_path / "q"
    folder.mkdir()
    qemu = binaries.default()
    settings = [f"{key}={qemu.environment[key]}" for key in ("LD_LIBRARY_PATH", "QEMU_MODULE_DIR") if qemu.root]
    wait = ["-chardev", f"socket,id=never,path={folder}/never,server=on,wait=on"]
    binary = script(
        folder / "qemu",
        f'echo $$ >> "{folder}/starts"; exec {shlex.join(["env", *settings, *qemu.command, *wait])} "$@"',
    )
    prober = subprocess.Popen(
        [sys.executable, "-c", PROBER, binary, *sys.path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        pid = awaited_start(folder)
        while not (folder / "never").exists():
            time.sleep(0.01)
        assert not is_gone(pid, patience=0.3)
        prober.send_signal(number)
        prober.wait(10)
        assert is_gone(pid)
    finally:
        prober.kill()
        prober.communicate()
