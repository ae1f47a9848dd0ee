# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plugging a vCPU again under KVM: the module refuses it exactly where QEMU ends, over QMP and over libvirt.

Whether QEMU ends depends on the host's KVM, and is first tried with QEMU alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import LabError, kvm, observer, unprivileged_user
from lab.ospm import OspmGuest
from lab.ospm_domain import OspmDomain

from .conftest import BootOspm
from .support.modules import Vcpu

pytestmark = pytest.mark.skipif(not kvm.kvm_works(), reason="there is no KVM here")

Two = Callable[..., "OspmGuest | OspmDomain"]

SMP = "sockets=4,cores=2,threads=1,maxcpus=8"
WAYS = ["qmp", *(["libvirt"] if unprivileged_user.can_use_kvm() else [])]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> bool:
    """Whether QEMU ends here when a vCPU that has run code is plugged again, as QEMU alone shows."""
    folder: Path = tmp_path_factory.mktemp("raw")
    with OspmGuest(folder, smp=f"2,{SMP}", accel="kvm") as guest:
        guest.wait_ready()
        observer.plug(guest.observer, 5)
        guest.ospm.wait("end plug 5")
        guest.ospm.run_code(5)
        guest.observer.execute("device_del", id="vcpu5")
        observer.wait_enabled(guest.observer, [0, 1])
        with contextlib.suppress(ConnectionError):
            observer.plug(guest.observer, 5)
        return has_ended(guest)


@pytest.fixture(params=WAYS)
def two(request: pytest.FixtureRequest) -> Two:
    """Start guests under KVM with vCPUs 0 and 1 of 8."""
    if request.param == "qmp":
        start = request.getfixturevalue("boot_ospm")
        return lambda **options: start(smp=f"2,{SMP}", accel="kvm", **options)
    make = request.getfixturevalue("newest_ospm_domain")
    return lambda **options: make(topology={"sockets": 4, "cores": 2, "threads": 1}, accel="kvm", **options)


def has_ended(guest: OspmGuest | OspmDomain, seconds: float = 2) -> bool:
    """Whether the guest's QEMU ends within a moment."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            guest.observer.execute("query-status")
        except (ConnectionError, OSError, LabError):
            return True
        time.sleep(0.1)
    return False


def enable(guest: OspmGuest | OspmDomain, vcpus: str, **options: Any) -> Any:
    return Vcpu(guest)(vcpus=[{"id": vcpus, "state": "enabled"}], scope="live", **options)


def unplugged_after_it_ran(guest: OspmGuest | OspmDomain, vcpu: int) -> Any:
    """Plug a vCPU, have it execute code, and unplug it; return the result of the unplug."""
    assert enable(guest, str(vcpu)).steps == [f"plug {vcpu} done"]
    guest.ospm.run_code(vcpu)
    result = Vcpu(guest)(vcpus=[{"id": str(vcpu), "state": "disabled"}], scope="live")
    assert (result.get("error_code"), result.steps) == (None, [f"unplug {vcpu} done"]), result
    return result


def test_a_vcpu_that_ran_comes_back_only_where_qemu_survives_it(two: Two, ends: bool) -> None:
    guest = two()
    gone = unplugged_after_it_ran(guest, 5)
    assert ("vCPU 5 may not be plugged again" in gone.warnings) is ends
    if not ends:
        assert enable(guest, "5").steps == ["plug 5 done"]
        assert not has_ended(guest)
        return
    refused = Vcpu(guest).refuses("not_hotpluggable", vcpus=[{"id": "5", "state": "enabled"}], scope="live")
    assert "force: true" in refused["msg"]
    info = Vcpu(guest).info()["vcpus"]
    assert (info[5]["can_enable"]["code"], info[6]["can_enable"]) == ("not_hotpluggable", None)
    # The guest runs on, and takes any other.
    assert Vcpu(guest)(count=3, scope="live").steps == ["plug 2 done"]
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]


def test_force_plugs_it_and_qemu_may_end(two: Two, ends: bool) -> None:
    guest = two()
    unplugged_after_it_ran(guest, 5)
    forced = enable(guest, "5", force=True)
    assert has_ended(guest) is ends
    if not ends:
        assert (forced.get("error_code"), forced.steps) == (None, ["plug 5 done"])
        return
    code = "connection_lost" if isinstance(guest, OspmGuest) else "guest_not_running"
    assert forced["error_code"] == code, forced
    assert "may end the guest" in forced.warnings


def test_a_count_disables_a_vcpu_that_can_come_back_before_one_that_cannot(boot_ospm: BootOspm, ends: bool) -> None:
    guest = boot_ospm(smp=f"4,{SMP}", accel="kvm")
    if guest.qemu.version < (8, 1):
        pytest.skip("this QEMU is not asked which vCPUs have run")
    guest.ospm.run_code(2)
    guest.ospm.run_code(3)
    result = Vcpu(guest)(count=3)
    assert result.steps == (["unplug 1 done"] if ends else ["unplug 3 done"]), result
    back = Vcpu(guest)(count=4)
    assert (back.get("error_code"), back.steps) == (None, ["plug 1 done"] if ends else ["plug 3 done"]), back
    assert not has_ended(guest)


def test_a_rollback_does_not_plug_what_may_end_the_guest(two: Two, ends: bool) -> None:
    guest = two()
    assert enable(guest, "5-6").steps == ["plug 5 done", "plug 6 done"]
    guest.ospm.run_code(6)
    guest.ospm.refuse(5, status=128)
    result = Vcpu(guest)(vcpus=[{"id": "5-6", "state": "disabled"}], scope="live", on_failure="rollback", force=True)
    assert result["error_code"] == "unplug_refused", result
    assert result.steps == [f"unplug 6 {'done' if ends else 'undone'}", "unplug 5 refused"], result
    assert not has_ended(guest)
    assert observer.enabled_ids(guest.observer) == ([0, 1, 5] if ends else [0, 1, 5, 6])
