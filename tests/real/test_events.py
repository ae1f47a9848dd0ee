# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event source on real guests; QEMU, libvirt and the guest cause the events."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.domains import LibvirtGuest
from lab.ospm import OspmGuest
from lab.ospm_domain import OspmDomain

from .conftest import BootOspm, Domains, OspmDomains
from .support.event_source import EventSource

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


def of_guest(guest: OspmGuest, path: Path) -> dict[str, str]:
    return {"qmp_socket": guest.qmp_socket, "events_socket": str(path), "enabled": "0-2", "scope": "live"}


def plug(guest: OspmGuest) -> None:
    """Plug vCPU 2 as ``vcpu2``, as libvirt would name it."""
    slot = sorted(guest.observer.execute("query-hotpluggable-cpus"), key=lambda one: one["props"]["socket-id"])[2]
    guest.observer.execute("device_add", driver=slot["type"], id="vcpu2", **slot["props"])


def refuses_to_unplug_it_once(guest: OspmGuest | OspmDomain, source: EventSource) -> None:
    """After vCPU 2 was plugged: its first unplug is refused, and the second done."""
    assert source.wait("vcpu_added")["vcpus"] == "2"
    guest.ospm.refuse(2, times=1)
    guest.observer.execute("device_del", id="vcpu2")
    refused = source.wait("unplug_refused")
    assert refused["vcpus"] == "2"
    assert "busy" in refused["reason"]
    guest.observer.execute("device_del", id="vcpu2")
    assert source.wait("vcpu_removed")["vcpus"] == "2"


def of_domain(domain: LibvirtGuest) -> dict[str, str]:
    return {"name": domain.name, "uri": domain.daemon.uri, "enabled": "0-2"}


def test_a_qemu_guest_has_events_of_all_that_happens_to_it(boot_ospm: BootOspm, folder: Path) -> None:
    path = folder / "events"
    guest = boot_ospm(FOUR, extra=monitor(path))
    with EventSource(of_guest(guest, path)) as source:
        event = source.wait("connected")
        assert event["guest"] == guest.qmp_socket
        assert event["options"] == {"qmp_socket": guest.qmp_socket, "enabled": "0-2", "scope": "live"}

        plug(guest)
        refuses_to_unplug_it_once(guest, source)

        guest.ospm.reset()
        assert source.wait("reset")["reason"] == "guest-reset"

        guest.ospm.power_off()
        assert source.wait("stopped")["reason"] == "guest-shutdown"
        assert source.wait("disconnected")["code"] == "connection_lost"
        assert source.end() == 0, source.errors
    assert source.kinds() == [
        "connected", "vcpu_added", "unplug_refused", "vcpu_removed", "reset", "stopped", "disconnected",
    ]  # fmt: skip


def test_a_qemu_that_appears_later_is_found_and_each_next_one_is_reported_as_started(folder: Path) -> None:
    path = folder / "events"
    guest = OspmGuest(folder / "guest", smp=FOUR, accel="tcg", extra=monitor(path))
    with EventSource(of_guest(guest, path)) as source:
        assert source.wait("disconnected")["code"] == "monitor_unreachable"
        with guest:
            source.wait("started")
            seen = len(source.events)
        source.wait("disconnected", since=seen)
        again = OspmGuest(folder / "guest", smp=FOUR, accel="tcg", extra=monitor(path))
        with again:
            source.wait("started", since=seen)
            assert source.end() == 0, source.errors


def test_a_migration_is_reported_by_both_sides(boot_ospm: BootOspm, folder: Path) -> None:
    paths = folder / "source", folder / "destination"
    guest = boot_ospm(FOUR, extra=monitor(paths[0]))
    other = boot_ospm(FOUR, ready=False, extra=[*monitor(paths[1]), "-incoming", "defer"])
    with EventSource(of_guest(guest, paths[0]), of_guest(other, paths[1])) as source:
        for one in (guest, other):
            source.wait("connected", guest=one.qmp_socket)
        other.observer.execute("migrate-incoming", uri=f"unix:{folder}/state")
        guest.observer.execute("migrate", uri=f"unix:{folder}/state")
        assert source.wait("migrated", guest=guest.qmp_socket)["direction"] == "out"
        assert source.wait("migrated", guest=other.qmp_socket)["direction"] == "in"
        assert source.end() == 0, source.errors


def test_statistics_show_how_much_the_vcpus_of_a_qemu_guest_run(boot_ospm: BootOspm, folder: Path) -> None:
    path = folder / "events"
    guest = boot_ospm(FOUR, extra=monitor(path))
    with EventSource(of_guest(guest, path), statistics=1) as source:
        event = source.wait("statistics")
        assert event["count"] == 2
        assert 0 <= event["utilization"] <= 100
        assert event["seconds"] > 0.5
        assert source.end() == 0, source.errors


def test_a_libvirt_guest_has_events_of_all_that_happens_to_it(ospm_domain: OspmDomains) -> None:
    guest = ospm_domain(**FOUR_OF_LIBVIRT)
    with EventSource(of_domain(guest), client=guest.daemon, statistics=1) as source:
        event = source.wait("connected")
        assert event["guest"] == guest.name
        assert event["options"] == of_domain(guest)
        assert source.wait("statistics")["count"] == 2

        guest.virsh("setvcpu", "2", "--enable", "--live")
        refuses_to_unplug_it_once(guest, source)

        guest.ospm.reset()
        source.wait("reset")

        guest.virsh("destroy")
        assert source.wait("stopped")["reason"] == "destroyed"
        guest.virsh("start")
        assert source.wait("started")["reason"] == "booted"
        assert source.end() == 0, source.errors
    assert source.kinds("statistics") == [
        "connected", "vcpu_added", "unplug_refused", "vcpu_removed", "reset", "stopped", "started",
    ]  # fmt: skip


def test_a_libvirt_daemon_that_restarts_is_connected_to_again(newest_ospm_domain: OspmDomains) -> None:
    guest, other = (newest_ospm_domain(**FOUR_OF_LIBVIRT) for _number in range(2))
    by_uuid = {**of_domain(other), "name": other.uuid.upper()}
    with EventSource(of_domain(guest), by_uuid, client=guest.daemon) as source:
        for label in (guest.name, other.uuid.upper()):
            source.wait("connected", guest=label)
        seen = len(source.events)
        guest.daemon.stop_daemon()
        for label in (guest.name, other.uuid.upper()):
            assert source.wait("disconnected", guest=label)["code"] in ("connection_lost", "monitor_unreachable")
        # Its QEMU ends while libvirt is away.
        other.observer.execute("quit")
        guest.daemon.start_daemon()
        source.wait("connected", guest=guest.name, since=seen)
        other.virsh("start")
        source.wait("started", guest=other.uuid.upper())
        assert source.end() == 0, source.errors


def test_the_agent_of_a_linux_guest_ends_and_starts_again(newest_domain: Domains) -> None:
    guest = newest_domain(**FOUR_OF_LIBVIRT, agent=True)
    # Its monitor is watched too, as that of a guest that libvirt does not manage.
    guest.hang_up()
    of_monitor = {"agent_socket": "unused", "events_socket": guest.observer_socket}
    with EventSource(of_domain(guest), client=guest.daemon) as by_libvirt, EventSource(of_monitor) as by_qmp:
        for source in (by_libvirt, by_qmp):
            source.wait("connected")
        guest.shell("killall qemu-ga")
        for source in (by_libvirt, by_qmp):
            source.wait("agent_disconnected")
        guest.shell(f"qemu-ga -d -f /run/again.pid -m virtio-serial -p /dev/virtio-ports/{AGENT} -t /run")
        for source in (by_libvirt, by_qmp):
            source.wait("agent_connected")
            assert source.end() == 0, source.errors


@pytest.mark.parametrize(
    ("guest", "problem"),
    [
        ({}, "guests[0]: set name"),
        ({"qmp_socket": "/q"}, "guests[0]: set events_socket"),
        ({"name": "web1", "events_socket": "/q"}, "omit events_socket"),
    ],
    ids=str,
)
def test_invalid_options_end_the_source_with_a_message(guest: dict[str, str], problem: str) -> None:
    with EventSource(guest) as source:
        assert source.status() != 0
        assert problem in source.errors
