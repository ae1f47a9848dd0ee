# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vcpu_batch and vcpu_info on a fleet of real QEMUs, some of which have ended, hang or refuse."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import qemu.qmp

from lab import observer
from lab.guest import Guest

from .conftest import SHUT_OFF, TWO_CELLS, TWO_NODES, Boot, BootOspm, OspmDomains
from .support.modules import Result
from .support.tasks import run_task

PAUSED = {**TWO_NODES, "boot": False, "paused": True, "memory": 64}
THREE = {**TWO_NODES, "smp": "3,sockets=4,cores=2,threads=1,maxcpus=8"}
NODE_1 = {"nodes": [{"id": "1", "count": 2}]}
# What each kind of desired state leads to, from vCPUs 0 and 1.
REACHED = {"count": [0, 1, 2], "nodes": [0, 1, 4, 5]}


def batch(*guests: dict[str, Any], check: bool = False, **options: Any) -> Result:
    return run_task("kvm.hotplug.vcpu_batch", check, guests=list(guests), **options)


def named(guest: Guest, **desired: Any) -> dict[str, Any]:
    return {"qmp_socket": guest.qmp_socket, **desired}


def told(result: Result) -> list[str]:
    """What came of each guest, in a word or its error code."""
    return [
        guest["error_code"] if guest["failed"] else "skipped" if guest["skipped"] else str(guest["changed"])
        for guest in result["guests"]
    ]


@contextlib.contextmanager
def hanging(guest: Guest) -> Iterator[None]:
    """Keep its QEMU from doing anything."""
    os.kill(guest.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(guest.pid, signal.SIGCONT)


def test_a_dead_a_hanging_and_a_refusing_guest_do_not_affect_the_others(boot: Boot, boot_ospm: BootOspm) -> None:
    paused = [boot(**PAUSED) for _number in range(60)]
    willing, refusing = boot_ospm(**TWO_NODES), boot_ospm(**THREE)
    refusing.ospm.refuse(status=128)
    kinds: list[dict[str, Any]] = [{"count": 3}, NODE_1]
    desired_states = [named(guest, **kinds[number % 2]) for number, guest in enumerate(paused)]
    swap = [{"id": "1", "state": "disabled"}, {"id": "4", "state": "enabled"}]
    desired_states += [named(willing, vcpus=swap), named(refusing, count=2)]

    predicted = batch(*desired_states, check=True)
    assert predicted["summary"] == {"guests": 62, "changed": 62, "unchanged": 0, "failed": 0, "skipped": 0}
    assert all(observer.enabled_ids(guest.observer) == [0, 1] for guest in paused)
    assert len(re.findall(r"^\+vCPU", predicted.diff, re.MULTILINE)) == 30 * 1 + 30 * 2 + 2 + 1

    dead, stuck = paused[17], paused[40]
    dead.kill()
    with hanging(stuck):
        applied = batch(*desired_states, defaults={"timeout": 20}, details="full")
        again = batch(*desired_states, defaults={"timeout": 20})
    assert applied["summary"] == {"guests": 62, "changed": 59, "unchanged": 0, "failed": 3, "skipped": 0}
    assert again["summary"] == {"guests": 62, "changed": 0, "unchanged": 59, "failed": 3, "skipped": 0}
    for result in (applied, again):
        failures = {guest["item"]: guest["error_code"] for guest in result["guests"] if guest["failed"]}
        assert failures == {
            dead.qmp_socket: "monitor_unreachable",
            stuck.qmp_socket: "monitor_busy",
            refusing.qmp_socket: "unplug_refused",
        }
        assert all(guest["msg"] for guest in result["guests"] if guest["failed"])
        assert result["msg"].startswith("3 of 62 guests failed. ")
        assert result["error_code"] == "monitor_unreachable"
    for number, guest in enumerate(paused):
        if guest not in (dead, stuck):
            wanted = REACHED["nodes" if number % 2 else "count"]
            assert observer.enabled_ids(guest.observer) == wanted
            assert Result(applied["guests"][number]).enabled() == wanted
    assert observer.enabled_ids(stuck.observer) == [0, 1]
    assert observer.enabled_ids(refusing.observer) == [0, 1, 2]
    assert observer.enabled_ids(willing.observer) == [0, 4]

    # What the same fleet looks like from its folder of sockets, a dead one among them.
    Path(dead.qmp_socket).touch()
    folder = Path(paused[0].workdir).parent
    info = run_task("kvm.hotplug.vcpu_info", qmp_sockets=[f"{folder}/*/qmp.sock"])
    assert [guest["guest"] for guest in info["failed_guests"]] == [dead.qmp_socket]
    assert info["failed_guests"][0]["error_code"] == "monitor_unreachable"
    counts = Counter(tuple(Result(guest).enabled()) for guest in info["guests"])
    assert counts == {(0, 1, 2): 30, (0, 1, 4, 5): 29, (0, 1): 1, (0, 4): 1}


def test_fail_fast_does_not_change_guests_that_were_not_started(boot: Boot) -> None:
    guests = [boot(**PAUSED) for _number in range(4)]
    guests[1].kill()
    desired_states = [named(guest, count=3) for guest in guests]
    result = batch(*desired_states, fail_fast=True, max_concurrency=1)
    assert told(result) == ["True", "monitor_unreachable", "skipped", "skipped"]
    assert result["summary"] == {"guests": 4, "changed": 1, "unchanged": 0, "failed": 1, "skipped": 2}
    assert [observer.enabled_ids(guests[number].observer) for number in (0, 2, 3)] == [[0, 1, 2], [0, 1], [0, 1]]


def test_a_guard_stops_only_its_guest(boot: Boot, boot_ospm: BootOspm) -> None:
    booted, other, third = boot_ospm(**THREE), boot(**PAUSED), boot(**PAUSED)
    observer.plug(other.observer, 7)
    desired_states = [
        named(booted, count=1, max_disable=1),
        named(other, count=4, expected={"live": "0-1"}),
        named(third, count=4, expected={"live": "0-1"}),
    ]
    for check in (True, False):
        result = batch(*desired_states, check=check)
        assert told(result) == ["conflicting_request", "conflicting_request", "True"]
        assert "2 vCPUs would be disabled (1-2), and max_disable is 1" in result["guests"][0]["msg"]
        assert "the enabled live vCPUs are 0-1,7" in result["guests"][1]["msg"]
    assert observer.enabled_ids(booted.observer) == [0, 1, 2]
    assert observer.enabled_ids(other.observer) == [0, 1, 7]
    assert observer.enabled_ids(third.observer) == [0, 1, 2, 3]
    again = batch(desired_states[2])
    assert told(again) == ["False"]


def test_a_host_does_not_exceed_max_overcommit(boot: Boot) -> None:
    guests = [boot(**PAUSED) for _number in range(3)]
    desired_states = [named(guests[0], count=8), named(guests[1], count=8), named(guests[2], count=2)]
    # The three have 6 vCPUs, and 18 are wished for.
    most = 10 / (os.cpu_count() or 1)
    refused = batch(*desired_states, max_overcommit=most, overcommit="fail")
    assert told(refused) == ["conflicting_request", "conflicting_request", "False"]
    assert all(observer.enabled_ids(guest.observer) == [0, 1] for guest in guests)
    warned = batch(*desired_states, max_overcommit=most)
    assert told(warned) == ["True", "True", "False"]
    assert "would have 18 vCPUs enabled" in warned.warnings
    assert observer.enabled_ids(guests[0].observer) == list(range(8))


def test_libvirt_guests_and_other_qemu_guests_in_one_batch(
    boot: Boot, newest_ospm_domain: OspmDomains, tmp_path: Path
) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "qemu").symlink_to(Path(qemu.qmp.__file__).parents[1])
    booted, shut_off = newest_ospm_domain(**TWO_CELLS), newest_ospm_domain(**TWO_CELLS, start=False)
    paused, gone = boot(**PAUSED), boot(**PAUSED)
    gone.kill()
    file = tmp_path / "db.xml"
    file.write_text(SHUT_OFF)
    lab = booted.daemon
    domains = [{"name": guest.name, "uri": lab.uri} for guest in (booted, shut_off)]
    guests = [
        {**domains[0], "nodes": [{"id": "1", "count": 2}]},
        {**domains[1], "count": 5},
        named(paused, vcpus=[{"id": "6", "state": "enabled"}]),
        named(gone, count=3),
        {"domain_xml": str(file), "count": 3},
        {"name": booted.uuid, "uri": lab.uri, "count": 1},
    ]

    def run(check: bool = False) -> Result:
        return batch(*guests, check=check, client=lab, packages=tmp_path / "packages", max_concurrency=1)

    for check, changed in ((True, "True"), (False, "True"), (True, "False"), (False, "False")):
        result = run(check)
        assert told(result) == [
            *(changed, changed, changed, "monitor_unreachable", changed, "conflicting_request"),
        ], result
        reached = changed == "False" or not check
        assert observer.enabled_ids(booted.observer) == ([0, 1, 4, 5] if reached else [0, 1])
        assert observer.enabled_ids(paused.observer) == ([0, 1, 6] if reached else [0, 1])
        assert shut_off.virsh("vcpucount", "--config", "--current").strip() == ("5" if reached else "2")
        assert ("current='3'" in file.read_text()) is reached
    assert "name each guest once" in result["guests"][5]["msg"]

    seen = run_task("kvm.hotplug.vcpu_info", client=lab, uri=lab.uri)
    states = {
        guest["guest"]["name"]: (guest["guest"]["state"], Result(guest).enabled("config")) for guest in seen["guests"]
    }
    assert states == {
        booted.name: ("running", [0, 1, 4, 5]),
        shut_off.name: ("shutoff", [0, 1, 2, 3, 4]),
    }


def test_one_guest_with_invalid_options_keeps_no_other_from_its_wish(boot: Boot) -> None:
    guests = [boot(**PAUSED) for _number in range(2)]
    good = named(guests[0], count=3)
    twice = batch(good, good)
    assert (twice["error_code"], twice["changed"]) == ("conflicting_request", False)
    assert "name each guest once" in twice["msg"]
    assert observer.enabled_ids(guests[0].observer) == [0, 1]
    for changed, bad, code, why in (
        ("True", named(guests[1], cuont=3), "conflicting_request", "cuont"),
        ("False", named(guests[1], count=["3"]), "conflicting_request", "count is ['3']"),
        ("False", named(guests[1], vcpus=[{"id": "3-1", "state": "enabled"}]), "unknown_vcpu", "3-1"),
        ("False", {"count": 3}, "conflicting_request", "guests[1]"),
    ):
        result = batch(good, bad)
        assert (result["error_code"], told(result)) == (code, [changed, code])
        assert why in result["msg"]
        assert observer.enabled_ids(guests[0].observer) == [0, 1, 2]
        assert observer.enabled_ids(guests[1].observer) == [0, 1]
