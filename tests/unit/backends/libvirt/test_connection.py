# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to libvirt: drivers other than QEMU's are refused, and hosts that do not reply time out."""

from __future__ import annotations

import subprocess
import threading
import time
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt import connection
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.pool import Pool
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError

from ...support.queries import run


class MadeUpLibrary:
    """A library with one libvirt, and what was called of it."""

    VIR_CRED_AUTHNAME, VIR_CRED_PASSPHRASE, VIR_CONNECT_RO = 2, 5, 1

    def __init__(self, driver: str) -> None:
        self.calls: list[str] = []
        self._driver = driver
        self._never = threading.Event()

    def openAuth(self, _uri: str, _credentials: list[Any], flags: int) -> MadeUpLibrary:
        assert flags == self.VIR_CONNECT_RO
        return self

    def virEventRegisterDefaultImpl(self) -> None:
        """There are no events."""

    def virEventRunDefaultImpl(self) -> None:
        self._never.wait()

    def setKeepAlive(self, _seconds: int, _times: int) -> None:
        self.calls.append("setKeepAlive")

    def getType(self) -> str:
        self.calls.append("getType")
        return self._driver

    def close(self) -> None:
        self.calls.append("close")


def connect(library: MadeUpLibrary, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "imported", lambda: library)

    async def work() -> None:
        pool = Pool()
        try:
            await pool.connection(uri, True, 5.0)
        finally:
            await pool.close()

    run(work)


@pytest.mark.parametrize(
    ("uri", "driver"), [("test:///default", "Test"), ("xen:///system", "Xen"), ("lxc:///system", "LXC")]
)
def test_a_driver_other_than_qemus_is_refused(uri: str, driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = MadeUpLibrary(driver)
    with pytest.raises(HotplugError) as caught:
        connect(library, uri, monkeypatch)
    assert caught.value.code == "hotplug_unsupported"
    assert f"libvirt at {uri} has guests of its driver {driver}" in caught.value.msg
    assert library.calls == ["getType", "close"]


def test_qemus_driver_is_accepted_whatever_the_uri_is(monkeypatch: pytest.MonkeyPatch) -> None:
    library = MadeUpLibrary("QEMU")
    connect(library, "an-alias", monkeypatch)
    assert library.calls == ["getType", "setKeepAlive", "close"]


@pytest.mark.parametrize(("uri", "watched"), [("qemu:///system", False), ("qemu+ssh://kvm1.example.com/system", True)])
def test_a_read_only_connection_to_a_remote_host_is_watched(
    uri: str, watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = MadeUpLibrary("QEMU")
    connect(library, uri, monkeypatch)
    assert ("setKeepAlive" in library.calls) is watched


class SilentHost(MadeUpLibrary):
    """A library whose connections wait for a process that it has started, as for ssh."""

    process: subprocess.Popen[bytes]

    def openAuth(self, _uri: str, _credentials: list[Any], flags: int) -> MadeUpLibrary:
        self.calls.append("openAuth")
        self.process = subprocess.Popen(["sleep", "60"])
        self.process.wait()
        return self


def test_a_connection_that_times_out_is_not_tried_again_and_its_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SilentHost("QEMU")
    monkeypatch.setattr(connection, "imported", lambda: library)
    uri = "qemu+ssh://kvm1.example.com/system"
    codes = []

    async def work() -> None:
        pool = Pool()
        for _guest in range(3):
            with pytest.raises(HotplugError, match=r"did not complete the connection within 0\.5 s") as caught:
                await pool.connection(uri, True, 0.5)
            codes.append(caught.value.code)
        await pool.close()

    run(work)
    assert (codes, library.calls) == (["monitor_unreachable"] * 3, ["openAuth"])
    deadline = time.monotonic() + 10
    while library.process.returncode is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert library.process.returncode == -15
