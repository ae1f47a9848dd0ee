# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest whose monitor's socket was removed still runs, and is not assumed to be shut off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import Connections
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.liveness import sign_of_qemu
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import writer_of
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports

from ..test_connect import OPTIONS

SLEEP = "import sys; print(flush=True); sys.stdin.read()"


@contextlib.contextmanager
def process(name: str, *arguments: str) -> Iterator[int]:
    """A process of this name and these arguments."""
    command = [name, "-c", SLEEP, *arguments]
    with subprocess.Popen(command, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        yield running.pid
        assert running.stdin is not None
        running.stdin.close()


@contextlib.contextmanager
def listening(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield


def opened(monitor: Path | str, xml: Path | None) -> Ports:
    options = {**OPTIONS, "qmp_socket": str(monitor), "domain_xml": None if xml is None else str(xml)}
    return asyncio.run(writer_of(options, Connections(), check_mode=False).open())


def test_a_monitor_that_never_existed_shows_nothing(tmp_path: Path) -> None:
    assert sign_of_qemu(str(tmp_path / "q")) is None
    assert sign_of_qemu("127.0.0.1:1") is None


def test_a_socket_whose_file_was_removed_shows_that_a_process_listens(tmp_path: Path) -> None:
    path = tmp_path / "q"
    with listening(path):
        path.unlink()
        assert "listens at a socket of this name" in (sign_of_qemu(str(path)) or "")
        (tmp_path / "link").symlink_to(tmp_path)
        assert sign_of_qemu(str(tmp_path / "link" / "q")) is not None
        assert sign_of_qemu(str(tmp_path / "q2")) is None
    assert sign_of_qemu(str(path)) is None


@pytest.mark.parametrize(
    ("monitor", "argument"),
    [
        ("/run/guests/web1/qmp.sock", "unix:/run/guests/web1/qmp.sock,server=on,wait=off"),
        ("/run/guests/web1/qmp.sock", "socket,id=mon,path=/run/guests/web1/qmp.sock,server=on"),
        ("127.0.0.1:4444", "tcp:127.0.0.1:4444,server=on,wait=off"),
    ],
)
def test_a_qemu_that_was_started_with_the_monitor_shows(monitor: str, argument: str) -> None:
    with process("/opt/qemu-system-x86_64", "-qmp", argument) as pid:
        assert f"process {pid} (qemu-system-x86_64)" in (sign_of_qemu(monitor) or "")
        assert sign_of_qemu(f"{monitor}2") is None
        assert sign_of_qemu(monitor[1:]) is None
    assert sign_of_qemu(monitor) is None


def test_any_other_process_that_names_the_monitor_shows_nothing() -> None:
    with process("socat", "unix:/run/guests/web1/qmp.sock,server=on"):
        assert sign_of_qemu("/run/guests/web1/qmp.sock") is None


def test_a_guest_whose_socket_was_removed_is_not_assumed_to_be_shut_off(tmp_path: Path) -> None:
    path, xml = tmp_path / "q", tmp_path / "guest.xml"
    with listening(path):
        path.unlink()
        with pytest.raises(HotplugError) as caught:
            opened(path, xml)
    assert caught.value.code == "monitor_unreachable"
    assert "still runs" in caught.value.msg
    assert "set only domain_xml" in caught.value.msg


def test_a_guest_without_any_sign_is_assumed_to_be_shut_off_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "q"
    with listening(path):
        pass
    assert os.path.exists(path)
    ports = opened(path, tmp_path / "guest.xml")
    assert ports.machine is None
    assert "assumed to be shut off" in ports.warnings[0]
