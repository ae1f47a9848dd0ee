# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vcpu on real guests with an agent: online vCPUs, drains, and method agent."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lab import linux_behaviours, observer
from lab.contact import Contact
from lab.domains import LibvirtGuest

from .conftest import TWO_CELLS, TWO_NODES
from .support.modules import PATIENCE, Result, Vcpu, run_module, wait_online
from .test_libvirt_guests import HOTPLUGGABLE

# vCPUs 1, 2 and 5 have another number in the guest than in the machine, or might have.
SPARSE = {**TWO_NODES, "smp": "3,sockets=4,cores=2,threads=1,maxcpus=8"}
NO_FILES = "lab.ga=-b lab.ga=guest-file-open,guest-file-read"
STOP_AGENT = "kill -STOP $(pidof qemu-ga)"


class Guests:
    """Guests with an agent, over QMP or libvirt."""

    def __init__(self, request: pytest.FixtureRequest, kind: str) -> None:
        self.kind = kind
        self._make = request.getfixturevalue("boot" if kind == "qmp" else "newest_domain")

    def __call__(self, sparse: bool = False, **options: Any) -> Vcpu:
        """Return the module on a guest with vCPUs 0-2, or 0, 1, 2 and 5."""
        if self.kind == "libvirt":
            vcpus = HOTPLUGGABLE if sparse else "<vcpu current='3'>8</vcpu>"
            return Vcpu(self._make(**{**TWO_CELLS, "vcpus": vcpus, "agent": True, **options}))
        vcpu = Vcpu(self._make(**SPARSE, agent=True, **options))
        vcpu.source["agent_socket"] = vcpu.guest.agent_socket
        if sparse:
            vcpu(vcpus=[{"id": "5", "state": "enabled"}])
        return vcpu


@pytest.fixture(params=["qmp", "libvirt"])
def with_agent(request: pytest.FixtureRequest) -> Guests:
    return Guests(request, request.param)


def online(result: Result) -> dict[int, bool | None]:
    """What the module says of each vCPU that is plugged."""
    assert "vcpus" in result, result["msg"]
    return {told["id"]: told["online"] for told in result["vcpus"] if told["live"] == "enabled"}


def runs_on(guest: Contact) -> int:
    """On how many CPUs the guest's own system runs."""
    return len(observer.guest_cpus(guest))


def converges(vcpu: Vcpu, wanted: int, **options: Any) -> Result:
    """Check, apply, check and apply again by method agent; the guest's sysfs is asked after each."""
    plugged = observer.enabled_ids(vcpu.guest.observer)
    before = runs_on(vcpu.guest)
    predicted = vcpu(check=True, method="agent", **options)
    assert runs_on(vcpu.guest) == before, "check mode changed the guest"
    applied = vcpu(method="agent", **options)
    assert (predicted["changed"], applied["changed"]) == (True, True), applied
    assert runs_on(vcpu.guest) == wanted == list(online(applied).values()).count(True)
    assert online(predicted) == online(applied)
    assert predicted.diff == applied.diff != ""
    for again in (vcpu(check=True, method="agent", **options), vcpu(method="agent", **options)):
        assert (again["changed"], again.steps, again.diff) == (False, [], "")
    assert observer.enabled_ids(vcpu.guest.observer) == plugged, "method agent plugs nothing"
    return applied


def test_plugged_vcpus_are_online_in_the_guest(with_agent: Guests) -> None:
    vcpu = with_agent()
    applied = vcpu.converges([0, 1, 2, 6], vcpus=[{"id": "6", "state": "enabled"}], guest_online="verify")
    assert applied.steps[:2] == ["plug 6 done", "online 6 done"]
    assert online(applied) == {0: True, 1: True, 2: True, 6: True}
    assert runs_on(vcpu.guest) == 4


def test_a_guest_without_the_udev_rule_is_onlined_by_its_agent(with_agent: Guests) -> None:
    vcpu = with_agent(append="lab.onliner=0")
    ignored = vcpu(vcpus=[{"id": "3", "state": "enabled"}], guest_online="ignore")
    assert (ignored["changed"], ignored.steps[0]) == (True, "plug 3 done")
    assert online(ignored)[3] is False
    assert runs_on(vcpu.guest) == 3
    applied = vcpu.converges([0, 1, 2, 3, 6], vcpus=[{"id": "6", "state": "enabled"}])
    assert online(applied) == {0: True, 1: True, 2: True, 3: False, 6: True}
    assert runs_on(vcpu.guest) == 4


def test_ids_are_those_of_the_machine(with_agent: Guests) -> None:
    vcpu = with_agent(sparse=True)
    assert online(vcpu(count=4)) == {0: True, 1: True, 2: True, 5: True}
    off = converges(vcpu, 3, vcpus=[{"id": "5", "state": "disabled"}])
    assert off.steps == ["offline 5 done"]
    assert {node: len(cpus) for node, cpus in observer.guest_nodes(vcpu.guest).items() if cpus} == {0: 3}
    on = converges(vcpu, 4, vcpus=[{"id": "5", "state": "enabled"}])
    assert on.steps == ["online 5 done"]


def test_counts_and_exclusive_by_the_agent(with_agent: Guests) -> None:
    vcpu = with_agent()
    assert converges(vcpu, 1, count=1).steps == ["offline 2 done", "offline 1 done"]
    assert converges(vcpu, 2, vcpus=[{"id": "2", "state": "enabled"}]).steps == ["online 2 done"]
    assert converges(vcpu, 2, vcpus=[{"id": "0-1", "state": "enabled"}], exclusive=True).steps == [
        "online 1 done",
        "offline 2 done",
    ]


def test_unsupported_requests_to_the_agent_are_refused_with_the_reason(with_agent: Guests) -> None:
    vcpu = with_agent()
    for code, desired in (
        ("conflicting_request", {"nodes": [{"id": "0", "count": 1}]}),
        ("conflicting_request", {"count": 1, "scope": "config"}),
        ("not_hotpluggable", {"vcpus": [{"id": "7", "state": "enabled"}]}),
        ("not_hotpluggable", {"vcpus": [{"id": "0", "state": "disabled"}]}),
        ("count_unreachable", {"count": 4}),
        ("unknown_vcpu", {"vcpus": [{"id": "8", "state": "enabled"}]}),
    ):
        vcpu.refuses(code, method="agent", **desired)
    assert runs_on(vcpu.guest) == 3


def test_a_guest_is_drained_before_an_unplug(with_agent: Guests) -> None:
    vcpu = with_agent(sparse=True)
    applied = vcpu.converges([0, 1, 2], vcpus=[{"id": "5", "state": "disabled"}])
    assert applied.steps[:2] == ["offline 5 done", "unplug 5 done"]
    undrained = vcpu(vcpus=[{"id": "2", "state": "disabled"}], drain=False)
    if with_agent.kind == "libvirt":
        assert undrained.steps[0] == "unplug 2 done"
        assert observer.enabled_ids(vcpu.guest.observer) == [0, 1]


def test_a_refused_offline_is_reported_before_anything_is_unplugged(with_agent: Guests) -> None:
    vcpu = with_agent(sparse=True)
    linux_behaviours.refuse(vcpu.guest, 2)
    result = vcpu(vcpus=[{"id": "2", "state": "disabled"}], timeout=600)
    assert (result["error_code"], result["changed"]) == ("unplug_refused", False)
    assert result.steps[:2] == ["offline 2 refused", "unplug 2 skipped"]
    assert "nothing was unplugged" in result["msg"]
    assert observer.enabled_ids(vcpu.guest.observer) == [0, 1, 2, 5]
    assert runs_on(vcpu.guest) == 4


def test_a_drained_vcpu_is_onlined_again_if_the_unplug_fails(with_agent: Guests) -> None:
    vcpu = with_agent(sparse=True)
    linux_behaviours.forbid_ejects(vcpu.guest)
    result = vcpu(vcpus=[{"id": "5", "state": "disabled"}])
    assert (result["error_code"], result["changed"]) == ("unplug_refused", False)
    assert result.steps[:2] == ["offline 5 undone", "unplug 5 refused"]
    assert runs_on(vcpu.guest) == 4
    assert online(result)[5] is True


def test_an_agent_that_may_read_no_files(with_agent: Guests) -> None:
    vcpu = with_agent(sparse=True, append=NO_FILES)
    refused = vcpu.refuses("agent_error", method="agent", vcpus=[{"id": "5", "state": "disabled"}])
    assert "guest-file-open" in refused["msg"]
    # Which is which is not needed to online what is new.
    applied = vcpu(vcpus=[{"id": "6", "state": "enabled"}])
    assert (applied.get("error_code"), applied.steps[:2]) == (None, ["plug 6 done", "online 6 done"])
    assert runs_on(vcpu.guest) == 5
    # Nor is a guest drained of a vCPU that may be another.
    unplugged = vcpu(vcpus=[{"id": "6", "state": "disabled"}])
    assert unplugged.steps[0] == "unplug 6 done"


def test_a_guest_without_an_agent(boot: Any) -> None:
    guest = boot(**SPARSE)
    plugged = Vcpu(guest)(count=4)
    assert (plugged["changed"], plugged.steps) == (True, ["plug 3 done"])
    assert "missing_agent accept" in plugged.warnings
    Vcpu(guest).refuses("agent_unavailable", count=5, guest_online="verify")
    Vcpu(guest).refuses("agent_unavailable", count=3, method="agent")


def test_a_domain_without_an_agent(newest_domain: Any) -> None:
    guest = newest_domain()
    Vcpu(guest).refuses("agent_unavailable", count=1, method="agent")
    plugged = Vcpu(guest)(count=3)
    assert (plugged["changed"], plugged.steps[0]) == (True, "plug 2 done")
    assert "missing_agent accept" in plugged.warnings


def test_an_agent_that_does_not_reply_delays_nothing(with_agent: Guests) -> None:
    vcpu = with_agent()
    vcpu.guest.shell(STOP_AGENT)
    vcpu.refuses("agent_unavailable", method="agent", count=2, timeout=20)
    plugged = vcpu(vcpus=[{"id": "3", "state": "enabled"}], timeout=20)
    assert (plugged.get("error_code"), plugged["changed"]) == (None, True), plugged
    wait_online(vcpu.guest, 4)


def test_an_agent_that_stops_during_the_run(with_agent: Guests) -> None:
    vcpu = with_agent(append="lab.onliner=0")
    vcpu.guest.shell("(while [ ! -d /sys/devices/system/cpu/cpu3 ]; do usleep 1000; done; " + STOP_AGENT + ") &")
    result = vcpu(vcpus=[{"id": "3", "state": "enabled"}], timeout=12)
    assert (result["error_code"], result["changed"]) in [
        ("agent_unavailable", True),
        ("agent_error", True),
        ("plug_unacknowledged", True),
    ], result
    assert result.steps[0] == "plug 3 done"
    assert observer.enabled_ids(vcpu.guest.observer) == [0, 1, 2, 3]


def test_an_agent_alone(boot: Any) -> None:
    guest = boot(**SPARSE, agent=True)
    for wanted, changed in ((2, True), (2, False), (3, True)):
        result = run_module("kvm.hotplug.vcpu", agent_socket=guest.agent_socket, method="agent", count=wanted)
        assert (result.get("error_code"), result["changed"]) == (None, changed), result
        assert runs_on(guest) == wanted
    assert (
        run_module("kvm.hotplug.vcpu", agent_socket=guest.agent_socket, count=2)["error_code"] == "conflicting_request"
    )


def test_a_disconnected_channel(newest_domain: Any) -> None:
    guest: LibvirtGuest = newest_domain(agent=True)
    guest.shell("kill -KILL $(pidof qemu-ga)")
    deadline = time.monotonic() + PATIENCE
    while "name='org.qemu.guest_agent.0' state='disconnected'" not in guest.xml():
        assert time.monotonic() < deadline, "libvirt still has the channel as connected"
        time.sleep(0.05)
    Vcpu(guest).refuses("agent_unavailable", count=1, method="agent")
    assert Vcpu(guest)(count=3)["changed"] is True
