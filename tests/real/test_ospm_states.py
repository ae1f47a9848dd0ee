# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""States of QEMU in which nothing may be changed: the source and the destination of a migration; QEMU is the judge."""

from __future__ import annotations

import pytest

from lab.migration import wait_migration, wait_run_state

from .conftest import BootOspm
from .support.modules import Vcpu

FOUR = {"smp": "4,sockets=4,cores=2,threads=1,maxcpus=8"}


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
