# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every acknowledgement of a plug or an unplug by a guest, over QMP and over the oldest and the newest libvirt.

The guests are OSPM guests, under KVM where it works, which acknowledge exactly as commanded. QEMU itself shows the
outcome.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab import observer
from lab.ospm import OspmGuest
from lab.ospm_domain import OspmDomain
from lab.software import releases

from .conftest import TWO_CELLS, TWO_NODES
from .support.modules import Vcpu
from .test_libvirt_failures import THREE_GO
from .test_libvirt_guests import libvirts

Four = Callable[..., "OspmGuest | OspmDomain"]

WAYS = ["qmp", *(["oldest libvirt"] if len(releases()) > 1 else []), "newest libvirt"]
# libvirt itself waits this long for the guest.
LIBVIRTS_PATIENCE = 5
# A run has observed the guest by then.
OBSERVING_SECONDS = 3


@pytest.fixture(params=WAYS)
def four(request: pytest.FixtureRequest) -> Four:
    """Start guests with vCPUs 0-3 of 8 on two nodes, of which all but vCPU 0 can go."""
    if request.param == "qmp":
        start = request.getfixturevalue("boot_ospm")
        return lambda **options: start(**{**TWO_NODES, "smp": "4,sockets=4,cores=2,threads=1,maxcpus=8", **options})
    make = request.getfixturevalue(request.param.replace(" libvirt", "_ospm_domain"))
    return lambda **options: make(**{**TWO_CELLS, **THREE_GO, **options})


def disable(guest: OspmGuest | OspmDomain, vcpus: str, **options: Any) -> Any:
    return Vcpu(guest)(vcpus=[{"id": vcpus, "state": "disabled"}], scope="live", **options)


def enable(guest: OspmGuest | OspmDomain, vcpus: str, **options: Any) -> Any:
    return Vcpu(guest)(vcpus=[{"id": vcpus, "state": "enabled"}], scope="live", **options)


def asked(guest: OspmGuest | OspmDomain, vcpu: int) -> int:
    """How often the guest was asked to give a vCPU up."""
    guest.ospm.state()
    return guest.ospm.facts.count(f"unplug {vcpu}")


def refusing(four: Four, statuses: Iterable[int], times: int = 0) -> dict[int, OspmGuest | OspmDomain]:
    """Start a guest for each status, with which it refuses to unplug vCPU 3."""
    guests = {status: four() for status in statuses}
    for status, guest in guests.items():
        guest.ospm.refuse(3, status, times=times)
    return guests


def disabled_at_once(guests: Mapping[int, OspmGuest | OspmDomain], **options: Any) -> dict[int, Any]:
    """Have vCPU 3 of each guest disabled, by a run for each; they wait at the same time."""
    with ThreadPoolExecutor(len(guests)) as pool:
        return dict(zip(guests, pool.map(lambda guest: disable(guest, "3", **options), guests.values())))


def once_it_waits(guest: OspmGuest | OspmDomain, action: Callable[[], object]) -> None:
    """Act while the next run waits for the guest: a while after it has connected, which may take long."""
    is_domain = isinstance(guest, OspmDomain)
    path = str(guest.daemon.runtime / "libvirt/libvirt-sock") if is_domain else guest.qmp_socket

    def act() -> None:
        deadline = time.monotonic() + 60
        while not is_connected(path) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(OBSERVING_SECONDS)
        action()

    threading.Thread(target=act).start()


def is_connected(path: str) -> bool:
    """Whether a client of this socket is connected, by the kernel: the state is the sixth field, and 03."""
    lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.endswith(f" {path}") and line.split()[5] == "03" for line in lines)


def test_a_guest_that_ejects(four: Four) -> None:
    guest = four()
    applied = Vcpu(guest).converges([0, 1, 2], vcpus=[{"id": "3", "state": "disabled"}], scope="live")
    assert applied.steps == ["unplug 3 done"]
    assert asked(guest, 3) == 1
    if isinstance(guest, OspmDomain):
        # If its wait for the guest had timed out, libvirt would still have the vCPU.
        assert libvirts(guest) == [0, 1, 2]


def test_a_guest_that_acknowledges_a_plug(four: Four) -> None:
    guest = four()
    applied = Vcpu(guest).converges([0, 1, 2, 3, 6], vcpus=[{"id": "6", "state": "enabled"}], scope="live")
    assert applied.steps == ["plug 6 done"]
    assert guest.ospm.wait("ost 6 1 0")


def test_a_request_to_a_guest_that_is_busy_once_is_repeated(four: Four) -> None:
    guests = refusing(four, (129, 130, 131), times=1)
    for status, result in disabled_at_once(guests).items():
        assert (result.get("error_code"), result.steps, result["changed"]) == (None, ["unplug 3 done"], True), result
        assert observer.enabled_ids(guests[status].observer) == [0, 1, 2]
        assert asked(guests[status], 3) == 2


def test_a_guest_that_stays_busy_is_a_refusal_after_the_timeout(four: Four) -> None:
    guest = four()
    guest.ospm.refuse(2)
    # Over libvirt, each request takes 5 seconds.
    result = disable(guest, "2-3", timeout=4 if isinstance(guest, OspmGuest) else 14)
    assert (result["error_code"], result["changed"]) == ("unplug_refused", True), result
    assert result.steps == ["unplug 3 done", "unplug 2 refused"]
    assert "busy (_OST 3/130)" in result["msg"]
    assert asked(guest, 2) > 1
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]


def test_a_request_to_a_guest_that_fails_at_first_is_repeated(four: Four) -> None:
    # As a Linux that still boots. Over libvirt, each request takes 5 seconds.
    guest = four()
    times = 2 if isinstance(guest, OspmGuest) else 1
    guest.ospm.refuse(3, status=1, times=times)
    result = disable(guest, "3")
    assert (result.get("error_code"), result.steps) == (None, ["unplug 3 done"]), result
    assert asked(guest, 3) == times + 1


def test_a_guest_that_keeps_failing_is_a_refusal_after_some_seconds(four: Four) -> None:
    guest = four()
    guest.ospm.refuse(3, status=1)
    result = disable(guest, "3", timeout=300)
    assert (result["error_code"], result.steps, result["changed"]) == ("unplug_refused", ["unplug 3 refused"], False)
    if isinstance(guest, OspmGuest):
        assert asked(guest, 3) > 1
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]


def test_a_guest_that_does_not_support_it_is_a_refusal_immediately(four: Four) -> None:
    guests = refusing(four, (128, 2, 77))
    for status, result in disabled_at_once(guests, timeout=300).items():
        outcome = result["error_code"], result.steps, result["changed"]
        assert outcome == ("unplug_refused", ["unplug 3 refused"], False), result
        assert f"3/{status}" in result["msg"]
        assert asked(guests[status], 3) == 1
        assert observer.enabled_ids(guests[status].observer) == [0, 1, 2, 3]


def test_an_unacknowledged_unplug_is_pending_and_repeated_by_the_next_run(four: Four) -> None:
    guest = four()
    guest.ospm.acknowledge_nothing(3)
    pending = disable(guest, "3", timeout=2)
    assert (pending["error_code"], pending.steps, pending["changed"]) == (
        "unplug_pending",
        ["unplug 3 pending"],
        False,
    ), pending
    guest.ospm.acknowledge()
    done = disable(guest, "3")
    assert (done.get("error_code"), done.steps, done["changed"]) == (None, ["unplug 3 done"], True), done
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]


@pytest.mark.parametrize("seconds", [1, LIBVIRTS_PATIENCE + 2])
def test_the_run_waits_for_a_slow_guest(four: Four, seconds: float) -> None:
    guest = four()
    guest.ospm.be_slow(seconds, 3)
    result = disable(guest, "3")
    assert (result.get("error_code"), result.steps, result["changed"]) == (None, ["unplug 3 done"], True), result
    assert asked(guest, 3) == 1
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]


def test_an_unplug_that_ends_after_the_timeout_is_found_done(four: Four) -> None:
    guest = four()
    guest.ospm.hold(3)
    pending = disable(guest, "3", timeout=2)
    assert (pending["error_code"], pending.steps) == ("unplug_pending", ["unplug 3 pending"]), pending
    guest.ospm.release()
    observer.wait_enabled(guest.observer, [0, 1, 2])
    again = disable(guest, "3")
    assert (again.get("error_code"), again["changed"], again.steps) == (None, False, []), again


def test_a_later_run_waits_for_a_pending_unplug(four: Four) -> None:
    guest = four()
    guest.ospm.hold(3, times=1)
    disable(guest, "3", timeout=2)
    once_it_waits(guest, guest.ospm.release)
    result = disable(guest, "3")
    assert (result.get("error_code"), result["changed"], result.steps) == (None, True, ["unplug 3 done"]), result
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]


def test_a_vcpu_whose_unplug_is_in_progress_does_not_count_as_enabled(four: Four) -> None:
    guest = four()
    guest.ospm.hold(3, times=1)
    disable(guest, "3", timeout=2)
    wanted = enable(guest, "3", timeout=2)
    assert (wanted["error_code"], wanted["changed"]) == ("unplug_pending", False), wanted
    guest.ospm.release()
    observer.wait_enabled(guest.observer, [0, 1, 2])
    back = enable(guest, "3", force=True)  # it ran no code, which QEMU cannot tell
    assert (back.get("error_code"), back["changed"]) == (None, True), back
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]


def test_a_guest_that_ejects_and_reports_nothing_is_done(four: Four) -> None:
    guest = four()
    guest.ospm.acknowledge_unplug("w50 e", 3)
    result = disable(guest, "3")
    assert (result.get("error_code"), result.steps) == (None, ["unplug 3 done"]), result
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]


def test_a_guest_that_reports_the_ejection_before_it_ejects_is_done_when_the_slot_is_empty(four: Four) -> None:
    guest = four()
    guest.ospm.acknowledge_unplug("o132 o0 w1500 e", 3)
    result = disable(guest, "3")
    assert (result.get("error_code"), result.steps) == (None, ["unplug 3 done"]), result
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]


def test_a_guest_that_reports_an_ejection_and_does_not_eject_is_pending(four: Four) -> None:
    guest = four()
    guest.ospm.acknowledge_unplug("o132 o0", 3)
    result = disable(guest, "3", timeout=3)
    assert (result["error_code"], result.steps, result["changed"]) == (
        "unplug_pending",
        ["unplug 3 pending"],
        False,
    ), result
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]


def test_an_acknowledgement_before_qemus_reply_is_done(four: Four) -> None:
    # libvirt 11.3 may miss an answer that is this soon, and then waits its 5 seconds.
    guest = four()
    guest.ospm.acknowledge_unplug("o132 e o0")
    result = disable(guest, "2-3")
    assert (result.get("error_code"), result.steps) == (None, ["unplug 3 done", "unplug 2 done"]), result
    assert observer.enabled_ids(guest.observer) == [0, 1]


def test_a_plug_that_the_guest_reports_as_failed_is_unacknowledged(four: Four) -> None:
    guest = four()
    guest.ospm.acknowledge_plug("o1", times=2)
    result = enable(guest, "5")
    assert (result["error_code"], result["changed"]) == ("plug_unacknowledged", True), result
    assert "1/1" in result["msg"]
    ignored = enable(guest, "6", guest_online="ignore")
    assert (ignored.get("error_code"), ignored.steps) == (None, ["plug 6 done"]), ignored
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3, 5, 6]


def test_an_unacknowledged_plug_is_pending_and_a_late_acknowledgement_counts(four: Four) -> None:
    guest = four()
    guest.ospm.acknowledge_plug("", 5)
    result = enable(guest, "5", timeout=2)
    assert (result["error_code"], result["changed"]) == ("plug_unacknowledged", True), result
    guest.ospm.acknowledge_plug("w1500 o0", 6)
    late = enable(guest, "6")
    assert (late.get("error_code"), late.steps) == (None, ["plug 6 done"]), late
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3, 5, 6]


def test_rollback_plugs_the_vcpus_unplugged_before_the_refusal(four: Four) -> None:
    guest = four()
    if isinstance(guest, OspmGuest) and guest.qemu.version < (8, 1):
        pytest.skip("this QEMU is not asked which vCPUs have run, so where KVM refuses those, none is plugged again")
    guest.ospm.refuse(2, status=128)
    result = Vcpu(guest)(
        vcpus=[{"id": "6", "state": "enabled"}, {"id": "2-3", "state": "disabled"}], scope="live", on_failure="rollback"
    )
    assert (result["error_code"], result["changed"]) == ("unplug_refused", False), result
    assert result.steps == ["plug 6 undone", "unplug 3 undone", "unplug 2 refused"]
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]


def test_a_guest_whose_acpi_is_not_up_is_not_ready(four: Four) -> None:
    guest = four(boot_steps="h a l")
    guest.ospm.wait_hold()
    result = disable(guest, "3", timeout=2)
    # QEMU 11 accepts the request all the same, and libvirt does not show that the guest does not listen.
    accepted = isinstance(guest, OspmDomain) and guest.qemu.version >= (11,)
    expected = ("unplug_pending", ["unplug 3 pending"]) if accepted else ("guest_not_ready", ["unplug 3 failed"])
    assert (result["error_code"], result.steps, result["changed"]) == (*expected, False), result
    once_it_waits(guest, guest.ospm.release)
    done = disable(guest, "3")
    assert (done.get("error_code"), done.steps) == (None, ["unplug 3 done"]), done
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]


def test_a_paused_guest_gets_no_unplug_request(four: Four) -> None:
    guest = four()
    guest.observer.execute("stop")
    result = disable(guest, "3")
    assert (result["error_code"], result.steps) == ("guest_not_ready", []), result
    guest.observer.execute("cont")
    assert asked(guest, 3) == 0
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]


@pytest.mark.parametrize("steps", ["z", "o132 z"])
def test_a_guest_that_powers_off_during_an_unplug(four: Four, steps: str) -> None:
    guest = four()
    guest.ospm.acknowledge_unplug(steps, 2)
    # QEMU 10.0 may hang as it ends while it carries out a command, and then keeps its monitor for the whole timeout.
    # libvirt may wait for its unplug before it deals with the end of the guest.
    code, timeout = ("connection_lost", 5) if isinstance(guest, OspmGuest) else ("guest_not_running", 15)
    result = disable(guest, "2-3", timeout=timeout)
    assert (result["error_code"], result["changed"], result.steps[0]) == (code, True, "unplug 3 done"), result


def test_a_guest_that_powers_off_while_its_acknowledgement_is_awaited(four: Four) -> None:
    guest = four()
    guest.ospm.acknowledge_plug("w300 z", 5)
    result = enable(guest, "5", timeout=10)
    code = "connection_lost" if isinstance(guest, OspmGuest) else "guest_not_running"
    assert (result["error_code"], result["changed"]) == (code, True), result


def test_a_guest_that_is_reset_before_it_acknowledges_finds_the_vcpu_as_it_boots(four: Four) -> None:
    guest = four()
    guest.ospm.acknowledge_plug("w300 x", 5)
    result = enable(guest, "5", timeout=10)
    assert (result.get("error_code"), result["changed"]) == (None, True), result
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("steps", ["x", "o132 x"])
def test_a_guest_that_is_reset_in_the_middle_of_an_unplug_is_asked_again(four: Four, steps: str) -> None:
    guest = four()
    guest.ospm.acknowledge_unplug(steps, 3)
    result = disable(guest, "3", timeout=20)
    assert (result.get("error_code"), result.steps, result["changed"]) == (None, ["unplug 3 done"], True), result
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]
    plugged = enable(guest, "5")
    assert (plugged.get("error_code"), plugged.steps) == (None, ["plug 5 done"]), plugged
    guest.ospm.wait_idle()
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 5]


def test_an_ejection_that_a_reset_cut_off_does_not_keep_another_vcpu_from_being_plugged(four: Four) -> None:
    guest = four()
    guest.ospm.hold(3)
    disable(guest, "3", timeout=2)
    since = len(guest.ospm.facts)
    guest.ospm.reset()
    guest.ospm.wait("ready", since=since)
    plugged = enable(guest, "5")
    assert (plugged.get("error_code"), plugged.steps) == (None, ["plug 5 done"]), plugged
    assert "vCPU 3 may be unplugged at any time" in plugged.warnings
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3, 5]


def test_a_guest_that_listens_late_is_asked_again(four: Four) -> None:
    # As soon as ACPI is up QEMU accepts requests; over libvirt it does not show that the guest takes no notice.
    guest = four(boot_steps="h a w3000 l")
    guest.ospm.wait_hold()
    guest.ospm.release()
    result = disable(guest, "3", timeout=40)
    assert (result.get("error_code"), result.steps, result["changed"]) == (None, ["unplug 3 done"], True), result
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]
