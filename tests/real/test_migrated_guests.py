# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest that was migrated to this QEMU and cannot online a plugged vCPU has a remedy of its own: a reboot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unit.support.agent_peer import LinuxAgent, failure
from unit.support.peer import Peer

from lab import observer
from lab.migration import migrate, wait_migration, wait_run_state
from lab.ospm import OspmGuest

from .conftest import TWO_NODES, BootOspm
from .support.modules import Vcpu

SMP = TWO_NODES["smp"]


class UnableAgent(LinuxAgent):
    """The agent of a guest that detects the vCPU that QEMU has plugged, and cannot online it."""

    def __init__(self, guest: OspmGuest, vcpu: int) -> None:
        super().__init__([0, 1])
        self._guest = guest
        self._vcpu = vcpu

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        if self._vcpu not in self.vcpus and self._vcpu in observer.enabled_ids(self._guest.observer):
            self.plug(self._vcpu)
            self.online[self.vcpus.index(self._vcpu)] = False
        if command["execute"] == "guest-set-vcpus":
            return failure("failed to write to '/sys/devices/system/cpu/cpu2/online': Input/output error")
        return super().answer(command)


def message_of_a_failed_plug(guest: OspmGuest, folder: Path) -> str:
    with Peer(UnableAgent(guest, 4), path=folder / "agent") as agent:
        result = Vcpu(guest)(
            vcpus=[{"id": "4", "state": "enabled"}], guest_online="verify", agent_socket=agent.address, timeout=20
        )
    assert (result.get("error_code"), result.steps) == ("agent_error", ["plug 4 done", "online 4 failed"]), result
    assert "Input/output error" in result["msg"]
    return str(result["msg"])


def test_a_migrated_guest_is_to_be_rebooted(boot_ospm: BootOspm, tmp_path: Path) -> None:
    source, destination = boot_ospm(SMP), boot_ospm(SMP, incoming=True)
    migrate(source.observer, destination.observer, tmp_path / "migration")
    message = message_of_a_failed_plug(destination, tmp_path)
    assert "the guest was migrated to this QEMU" in message
    assert "reboot the guest" in message


@pytest.mark.parametrize("saved", [False, True])
def test_a_guest_that_was_not_migrated_has_no_such_remedy(boot_ospm: BootOspm, tmp_path: Path, saved: bool) -> None:
    guest = boot_ospm(SMP)
    if saved:
        guest.observer.execute("migrate", uri="exec:cat > /dev/null")
        wait_migration(guest.observer, "completed")
        wait_run_state(guest.observer, "postmigrate")
        guest.observer.execute("cont")
    assert "reboot" not in message_of_a_failed_plug(guest, tmp_path)
