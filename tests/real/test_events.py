# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event source on real guests; QEMU, libvirt and the guest cause the events."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.ospm import OspmGuest
from lab.ospm_domain import OspmDomain

from .conftest import Boot, BootOspm, Domains, OspmDomains
from .support.event_source import EventSource
from .support.modules import Vcpu

FOUR = "2,sockets=4,cores=1,threads=1,maxcpus=4"
FOUR_OF_LIBVIRT = {
    "vcpus": "<vcpu current='2'>4</vcpu>",
    "topology": {"sockets": 4, "cores": 1, "threads": 1},
}
AGENT = "org.qemu.guest_agent.0"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, because that of a socket is limited."""
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        yield Path(name)


def monitor(path: Path) -> list[str]:
    """The arguments of a further QMP socket."""
    return ["-chardev", f"socket,id=events,path={path},server=on,wait=off", "-mon", "chardev=events,mode=control"]


def options(guest: OspmGuest, path: Path) -> dict[str, str]:
    return {"qmp_socket": guest.qmp_socket, "events_socket": str(path), "enabled": "0-2", "scope": "live"}


def test_a_qemu_guest_has_events_of_all_that_happens_to_it(boot_ospm: BootOspm, folder: Path) -> None:
    path = folder / "events"
    guest = boot_ospm(FOUR, extra=monitor(path))
    with EventSource(options(guest, path)) as source:
        event = source.wait("connected")
        assert event["guest"] == guest.qmp_socket
        assert event["options"] == {"qmp_socket": guest.qmp_socket, "enabled": "0-2", "scope": "live"}

        assert Vcpu(guest)(enabled="0-2").steps == ["plug 2 done"]
        assert source.wait("vcpu_added")["vcpus"] == "2"

        guest.ospm.refuse(2, times=1)
        assert Vcpu(guest)(enabled="0-1").steps == ["unplug 2 done"]
        refused = source.wait("unplug_refused")
        assert refused["vcpus"] == "2"
        assert "busy" in refused["reason"]
        assert source.wait("vcpu_removed")["vcpus"] == "2"

        guest.ospm.reset()
        assert source.wait("reset")["reason"] == "guest-reset"

        guest.ospm.power_off()
        assert source.wait("stopped")["reason"] == "guest-shutdown"
        assert source.wait("disconnected")["code"] == "connection_lost"
        assert source.end() == 0
    assert source.kinds() == [
        "connected", "vcpu_added", "unplug_refused", "vcpu_removed", "reset", "stopped", "disconnected",
    ]  # fmt: skip
