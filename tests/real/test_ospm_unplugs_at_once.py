# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unplugs over libvirt by several runs: one reports the change, and a request that is left is seen by later runs.

The guests are OSPM guests; QEMU itself and virsh show the outcome.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from lab import observer
from lab.ospm_domain import OspmDomain

from .conftest import TWO_CELLS, OspmDomains
from .support.modules import Result, Vcpu, module_process, run_module
from .test_libvirt_failures import THREE_GO
from .test_libvirt_guests import tainted


@pytest.fixture
def four(ospm_domain: OspmDomains) -> Callable[..., OspmDomain]:
    """Start domains with vCPUs 0-3 of 8, of which all but vCPU 0 can go."""
    return lambda **options: ospm_domain(**{**TWO_CELLS, **THREE_GO, **options})


def disable(guest: OspmDomain, vcpus: str, **options: Any) -> Result:
    return Vcpu(guest)(vcpus=[{"id": vcpus, "state": "disabled"}], scope="live", **options)


def enable(guest: OspmDomain, vcpus: str, **options: Any) -> Result:
    return Vcpu(guest)(vcpus=[{"id": vcpus, "state": "enabled"}], scope="live", **options)


def noted(guest: OspmDomain) -> list[int]:
    """The vCPUs whose unplug is noted in the running domain."""
    return [int(vcpu) for vcpu in re.findall(r"urn:kvm-hotplug:unplug:requested:(\d+):", guest.xml())]


def at_once(guest: OspmDomain, runs: int, meanwhile: Callable[[], object] = lambda: None) -> list[Result]:
    """Have several runs disable vCPU 3 at the same time."""
    results: list[Result] = []
    threads = [threading.Thread(target=lambda: results.append(disable(guest, "3"))) for _run in range(runs)]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join()
    return results


def unsettled(warnings: str) -> bool:
    return "vCPU 3 may be unplugged at any time" in warnings


def info_warnings(guest: OspmDomain) -> str:
    return run_module("kvm.hotplug.vcpu_info", client=guest.daemon, name=guest.name, uri=guest.daemon.uri).warnings


@pytest.mark.parametrize("seconds", [0.02, 7], ids=["at once", "beyond libvirt's timeout"])
def test_of_several_runs_that_unplug_the_same_vcpu_one_has_changed_something(
    four: Callable[..., OspmDomain], seconds: float
) -> None:
    guest = four()
    guest.ospm.be_slow(seconds, 3)
    results = at_once(guest, 3)
    assert [result.get("error_code") for result in results] == [None] * 3, results
    assert sorted(result["changed"] for result in results) == [False, False, True], results
    assert "urn:kvm-hotplug" not in guest.xml()
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]
    assert not tainted(guest)


def test_a_run_that_was_killed_leaves_a_note_and_blocks_no_later_run(four: Callable[..., OspmDomain]) -> None:
    guest = four()
    guest.ospm.hold(3, times=1)
    killed = module_process(
        "kvm.hotplug.vcpu", client=guest.daemon, **Vcpu(guest).source, vcpus=[{"id": "3", "state": "disabled"}]
    )
    guest.ospm.wait("hold 3", timeout=60)
    killed.kill()
    killed.communicate()
    assert noted(guest) == [3]
    assert "urn:kvm-hotplug" not in guest.xml(inactive=True)
    assert unsettled(info_warnings(guest))
    results = at_once(guest, 2, meanwhile=lambda: released_after(6, guest))
    assert [result.get("error_code") for result in results] == [None, None], results
    assert sorted(result["changed"] for result in results) == [False, True], results
    assert "urn:kvm-hotplug" not in guest.xml()
    assert observer.enabled_ids(guest.observer) == [0, 1, 2]
    assert not unsettled(info_warnings(guest))


def released_after(seconds: float, guest: OspmDomain) -> None:
    time.sleep(seconds)
    guest.ospm.release()


def test_later_runs_report_a_pending_unplug_until_it_is_refused_or_done(four: Callable[..., OspmDomain]) -> None:
    guest = four()
    guest.ospm.acknowledge_nothing(3)
    pending = disable(guest, "3", timeout=1)
    assert (pending["error_code"], pending.steps, pending["changed"]) == ("unplug_pending", ["unplug 3 pending"], False)
    guest.daemon.restart()
    assert unsettled(info_warnings(guest))
    wanted = enable(guest, "3", timeout=1)
    assert (wanted["error_code"], wanted.steps, wanted["changed"]) == ("unplug_pending", [], False), wanted
    plugged = enable(guest, "5")
    assert (plugged.get("error_code"), plugged.steps) == (None, ["plug 5 done"]), plugged
    assert unsettled(plugged.warnings)
    guest.ospm.refuse(3, status=128)
    assert disable(guest, "3")["error_code"] == "unplug_refused"
    assert noted(guest) == []
    assert enable(guest, "3").get("error_code") is None
    guest.ospm.acknowledge()
    counted = Vcpu(guest)(count=4, scope="live")
    assert counted.steps == ["unplug 5 done"]
    assert "urn:kvm-hotplug" not in guest.xml()
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]
