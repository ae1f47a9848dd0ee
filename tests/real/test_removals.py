# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plug into a slot whose former vCPU QEMU is still removing, because that vCPU's thread has not ended."""

from __future__ import annotations

import json
import time

import pytest

from lab import observer
from lab.ospm import OspmGuest
from lab.stopped_thread import stopped

from .conftest import BootOspm
from .support.modules import module_process

SMP = "2,sockets=4,cores=2,threads=1,maxcpus=8"
# What the module gets to begin its plug; with less, the test shows less, and passes.
BEGIN_SECONDS = 2


def start_unplug(guest: OspmGuest, vcpu: int) -> None:
    """Unplug a vCPU by QEMU's own command, and return when its slot is empty, whether or not QEMU has removed it."""
    guest.observer.execute("device_del", id=observer.slot_of(guest.observer, vcpu)["qom-path"])
    deadline = time.monotonic() + 10
    while vcpu in observer.enabled_ids(guest.observer):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("vcpu", "name"), [(5, "vcpu5"), (5, "theirs"), (1, None)], ids=["ours", "theirs", "boot"])
def test_a_plug_waits_until_qemu_has_removed_the_former_vcpu(boot_ospm: BootOspm, vcpu: int, name: str | None) -> None:
    guest = boot_ospm(smp=SMP)
    guest.wait_ready()
    if name is not None:
        observer.plug(guest.observer, vcpu, name)
        guest.ospm.wait(f"end plug {vcpu}")
    with stopped(observer.thread_of(guest.observer, vcpu)):
        start_unplug(guest, vcpu)
        process = module_process(
            "vcpu",
            qmp_socket=guest.qmp_socket,
            vcpus=[{"id": str(vcpu), "state": "enabled"}],
            scope="live",
            force=True,
        )
        time.sleep(BEGIN_SECONDS)
        assert process.poll() is None
        assert vcpu not in observer.enabled_ids(guest.observer)
    output, errors = process.communicate(timeout=60)
    result = json.loads(output)
    assert not result.get("failed"), errors + result.get("msg", "")
    assert [(step["step"], step["status"]) for step in result["steps"]] == [("plug", "done")]
    assert vcpu in observer.enabled_ids(guest.observer)
    assert guest.observer.execute("query-status")["status"] == "running"
