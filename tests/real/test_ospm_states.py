# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""States of QEMU in which nothing may be changed: the source and the destination of a migration; QEMU is the judge."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.held_relay import HeldRelay
from lab.migration import wait_migration, wait_run_state
from lab.ospm import MEMORY, OspmGuest

from .conftest import BootOspm
from .support.modules import Vcpu

FOUR = {"smp": "4,sockets=4,cores=2,threads=1,maxcpus=8"}
# userfaultfd(2) has no function of its own in the C library; the number is that of x86_64.
USERFAULTFD = 323
# In bytes per second. QEMU transfers some more than that, but random memory then takes half a minute.
SLOW = {"max-bandwidth": 4096, "max-postcopy-bandwidth": 1024}


@pytest.mark.parametrize("desired", [{"enabled": "0-3,5"}, {"enabled": "0-2"}, {"count": 6}], ids=str)
def test_a_source_that_has_migrated_is_not_changed(boot_ospm: BootOspm, desired: dict[str, str]) -> None:
    guest = boot_ospm(**FOUR)
    guest.observer.execute("migrate", uri="exec:cat > /dev/null")
    wait_run_state(guest.observer, "postmigrate")
    result = Vcpu(guest).refuses("migration_in_progress", **desired)
    assert "migrated" in result["msg"]
    assert Vcpu(guest).info()["guest"]["state"] == "paused"
    guest.observer.execute("cont")
    assert Vcpu(guest)(enabled="0-3,5").steps == ["plug 5 done"]


def test_a_destination_that_waits_for_its_guest_is_not_changed(boot_ospm: BootOspm) -> None:
    guest = boot_ospm(**FOUR, incoming=True)
    wait_run_state(guest.observer, "inmigrate")
    result = Vcpu(guest).refuses("migration_in_progress", enabled="0-3,5")
    assert "destination" in result["msg"]


def test_a_guest_that_is_being_migrated_is_not_changed(boot_ospm: BootOspm) -> None:
    guest = boot_ospm(**FOUR)
    # A guest of 32 MiB has migrated before a module can look, unless QEMU waits at the end.
    hold = [{"capability": "pause-before-switchover", "state": True}]
    guest.observer.execute("migrate-set-capabilities", capabilities=hold)
    guest.observer.execute("migrate", uri="exec:cat > /dev/null")
    wait_migration(guest.observer, "pre-switchover")
    Vcpu(guest).refuses("migration_in_progress", enabled="0-3,5")
    guest.observer.execute("migrate_cancel")
    wait_migration(guest.observer, "cancelled")
    wait_run_state(guest.observer, "running")
    assert Vcpu(guest)(enabled="0-3,5").steps == ["plug 5 done"]


def may_use_userfaultfd() -> bool:
    """Whether a process of this user can be the destination of a postcopy migration."""
    descriptor: int = ctypes.CDLL(None).syscall(USERFAULTFD, os.O_CLOEXEC)
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor >= 0


@contextlib.contextmanager
def slow_migration(
    boot_ospm: BootOspm, folder: Path, *capabilities: str
) -> Iterator[tuple[OspmGuest, OspmGuest, HeldRelay]]:
    """Yield the source and the destination of a migration that is active, and the relay that can hold it so."""
    content, machine = folder / "memory", {"machine": "q35,memory-backend=ram"}
    content.write_bytes(os.urandom(MEMORY << 20))
    backed = f"memory-backend-file,id=ram,size={MEMORY}M,mem-path={content}"
    source = boot_ospm(**FOUR, **machine, extra=["-object", backed])
    empty = f"memory-backend-ram,id=ram,size={MEMORY}M"
    destination = boot_ospm(**FOUR, **machine, incoming=True, extra=["-object", empty])
    states = [{"capability": capability, "state": True} for capability in capabilities]
    for guest in (source, destination):
        guest.observer.execute("migrate-set-capabilities", capabilities=states)
    source.observer.execute("migrate-set-parameters", **SLOW)
    destination.observer.execute("migrate-incoming", uri=f"unix:{folder}/incoming")
    with HeldRelay(folder / "relay", folder / "incoming") as relay:
        source.observer.execute("migrate", uri=f"unix:{folder}/relay")
        for guest in (source, destination):
            wait_migration(guest.observer, "active")
        yield source, destination, relay


def test_neither_end_of_an_active_migration_is_changed(boot_ospm: BootOspm, tmp_path: Path) -> None:
    with slow_migration(boot_ospm, tmp_path) as (source, destination, relay):
        relay.hold()
        vcpu = Vcpu(source)
        assert "the guest is being migrated" in vcpu.refuses("migration_in_progress", count=5)["msg"]
        assert "wait until the migration has ended" in vcpu.refuses("migration_in_progress", count=1)["msg"]
        assert vcpu(count=4)["changed"] is False
        assert vcpu.info()["vcpus"][4]["can_enable"]["code"] == "migration_in_progress"
        waiting = Vcpu(destination).refuses("migration_in_progress", count=5)
        assert "this QEMU is the destination of a migration" in waiting["msg"]


@pytest.mark.skipif(not may_use_userfaultfd(), reason="postcopy needs userfaultfd, which this user may not use")
def test_neither_end_of_a_postcopy_migration_is_changed(boot_ospm: BootOspm, tmp_path: Path) -> None:
    with slow_migration(boot_ospm, tmp_path, "postcopy-ram") as (source, destination, relay):
        source.observer.execute("migrate-start-postcopy")
        # The guest runs here already, without all of its memory.
        wait_run_state(destination.observer, "running")
        relay.hold()
        for guest in (source, destination):
            assert wait_migration(guest.observer, "postcopy-active")
            for count in (3, 5):
                result = Vcpu(guest).refuses("migration_in_progress", count=count)
                assert "the guest is being migrated" in result["msg"]
