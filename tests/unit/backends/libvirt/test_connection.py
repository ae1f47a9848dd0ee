# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A connection to a libvirt whose driver is not QEMU's is refused before anything is read."""

from __future__ import annotations

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt import connection
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.pool import Pool
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError

from ...support.queries import run


class MadeUpLibrary:
    """A library with one libvirt, and what was called of it."""

    def __init__(self, driver: str) -> None:
        self.calls: list[str] = []
        self._driver = driver

    def openReadOnly(self, _uri: str) -> MadeUpLibrary:
        return self

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
    assert library.calls == ["getType", "close"]
