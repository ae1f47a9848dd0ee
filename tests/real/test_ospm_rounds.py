# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every vCPU plugged and unplugged many times, and a fleet of running guests: OSPM guests, under KVM where it works."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import kvm, observer
from lab.ospm import OspmGuest
from lab.ospm_domain import OspmDomain

from .conftest import TWO_CELLS, TWO_NODES
from .support.modules import Result, Vcpu, run_module
from .test_libvirt_guests import libvirts
from .test_ospm_answers import WAYS

One = Callable[..., "OspmGuest | OspmDomain"]

# TCG only: QEMU aborts once more vCPUs were plugged in its life than the machine can have.
ROUNDS = {"kvm": 10, "tcg": 1}
FLEET = 100
ONE_BOOTS = (
    "<vcpu current='1'>8</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/>"
    + "".join(f"<vcpu id='{vcpu}' enabled='no' hotpluggable='yes'/>" for vcpu in range(1, 8))
    + "</vcpus>"
)


@pytest.fixture(params=WAYS)
def one(request: pytest.FixtureRequest) -> One:
    """Start guests with vCPU 0 of 8 on two nodes."""
    if request.param == "qmp":
        start = request.getfixturevalue("boot_ospm")
        return lambda **options: start(**{**TWO_NODES, "smp": "1,sockets=4,cores=2,threads=1,maxcpus=8", **options})
    make = request.getfixturevalue(request.param.replace(" libvirt", "_ospm_domain"))
    return lambda **options: make(**{**TWO_CELLS, "vcpus": ONE_BOOTS, **options})


def reaches(guest: OspmGuest | OspmDomain, wanted: list[int], **desired: Any) -> Result:
    """Carry out a desired state; QEMU, the results and libvirt's own record have to agree on what was reached.

    Forced, because the vCPUs come back: these guests run no code on them, which QEMU cannot tell.
    """
    result = Vcpu(guest)(**desired, force=True)
    assert (result.get("error_code"), result["changed"]) == (None, True), result
    assert {step["status"] for step in result["steps"]} == {"done"}
    assert observer.enabled_ids(guest.observer) == result.enabled() == wanted, result
    if isinstance(guest, OspmDomain):
        assert libvirts(guest) == libvirts(guest, inactive=True) == result.enabled("config") == wanted
        assert "libvirt's record" not in result.warnings
    return result


def exactly(vcpus: str) -> dict[str, Any]:
    return {"vcpus": [{"id": vcpus, "state": "enabled"}], "exclusive": True}


def test_all_vcpus_are_plugged_and_unplugged_in_many_rounds(one: One) -> None:
    guest = one()
    for _round in range(ROUNDS[guest.accel]):
        reaches(guest, list(range(8)), **exactly("0-7"))
        reaches(guest, [0], **exactly("0"))
    facts = guest.ospm.facts
    for vcpu in range(1, 8):
        assert facts.count(f"ost {vcpu} 1 0") == facts.count(f"eject {vcpu}") == ROUNDS[guest.accel]
    assert Vcpu(guest)(**exactly("0"))["changed"] is False


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_each_vcpu_is_plugged_and_unplugged_in_turn(one: One, machine: str) -> None:
    guest = one(machine=machine)
    for vcpu in range(1, 8):
        reaches(guest, [0, vcpu], **exactly(f"0,{vcpu}"))
    assert Vcpu(guest).info()["drift"].get("libvirt") in ("", None)


def test_counts_up_and_down_and_a_second_run_each_time(one: One) -> None:
    guest = one()
    counts = [2, 6, 3, 8, 2] if guest.accel == "kvm" else [2, 6, 3]  # TCG only: see ROUNDS
    for count in counts:
        reaches(guest, list(range(count)), count=count)
        again = Vcpu(guest)(count=count)
        assert (again["changed"], again["steps"], again.warnings) == (False, [], "")


def test_a_reset_keeps_the_vcpus_and_the_next_rounds_work(one: One) -> None:
    guest = one()
    reaches(guest, [0, 2, 5], **exactly("0,2,5"))
    since = len(guest.ospm.facts)
    guest.observer.execute("system_reset")
    guest.ospm.wait("ready", since=since)
    assert Vcpu(guest)(**exactly("0,2,5"))["changed"] is False
    reaches(guest, [0, 2, 6], **exactly("0,2,6"))
    guest.ospm.reset()
    guest.ospm.wait("ready", since=guest.ospm.wait("ready", since=since))
    reaches(guest, [0], **exactly("0"))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[list[OspmGuest]]:
    """A hundred running guests with 2 of 8 vCPUs each."""
    with contextlib.ExitStack() as stack:
        guests = [
            stack.enter_context(
                OspmGuest(tmp_path / str(number), name=f"g{number}", accel=kvm.accelerator(), **TWO_NODES)
            )
            for number in range(FLEET)
        ]
        for guest in guests:
            guest.wait_ready()
        yield guests


def batch(guests: list[OspmGuest], check: bool = False, **defaults: Any) -> Result:
    named = [{"qmp_socket": guest.qmp_socket} for guest in guests]
    return run_module("kvm.hotplug.vcpu_batch", check, guests=named, defaults=defaults)


def test_a_batch_changes_a_hundred_running_guests(fleet: list[OspmGuest]) -> None:
    predicted = batch(fleet, check=True, count=4)
    assert predicted["summary"] == {"guests": FLEET, "changed": FLEET, "unchanged": 0, "failed": 0, "skipped": 0}
    applied = batch(fleet, count=4)
    assert applied["summary"] == predicted["summary"], applied
    for guest in fleet:
        assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]
        assert {"ost 2 1 0", "ost 3 1 0"} <= set(guest.ospm.facts)
    again = batch(fleet, count=4)
    assert again["summary"] == {"guests": FLEET, "changed": 0, "unchanged": FLEET, "failed": 0, "skipped": 0}

    refusing, silent, ending, slow = fleet[3:13], fleet[20:30], fleet[40:42], fleet[50:60]
    for guest in refusing:
        guest.ospm.refuse(3, status=128)
    for guest in silent:
        guest.ospm.acknowledge_nothing(3)
    for guest in ending:
        guest.ospm.acknowledge_unplug("o132 z")
    for guest in slow:
        guest.ospm.be_slow(2, 3)
    drained = batch(fleet, count=2, timeout=15)
    codes = {"unplug_refused": refusing, "unplug_pending": silent, "connection_lost": ending}
    expected = {id(guest): code for code, guests in codes.items() for guest in guests}
    for guest, result in zip(fleet, drained["guests"]):
        assert result.get("error_code") == expected.get(id(guest)), result
        if guest not in ending:
            assert observer.enabled_ids(guest.observer) == ([0, 1, 2, 3] if id(guest) in expected else [0, 1])
    assert drained["summary"]["failed"] == len(expected)
