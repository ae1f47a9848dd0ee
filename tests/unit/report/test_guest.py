# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules return exactly the keys that their RETURN documents."""

from __future__ import annotations

import importlib
import xml.etree.ElementTree as ET
from typing import Any, Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import DirectSource
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    Blocker,
    ConfigState,
    Entity,
    GuestFacts,
    GuestState,
    Layout,
    LiveState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Source
from ansible_collections.kvm.hotplug.plugins.module_utils.report.batch import batch_failure, batch_report
from ansible_collections.kvm.hotplug.plugins.module_utils.report.guest import guest_report
from ansible_collections.kvm.hotplug.plugins.module_utils.report.info import (
    destination_report,
    failure_report,
    info_report,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.report.results import convergence_report
from ansible_collections.kvm.hotplug.plugins.module_utils.report.vcpus_xml import vcpus_xml
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import GuestRef
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.batch import Job
from ansible_collections.kvm.hotplug.plugins.module_utils.run.inspection import Inspection
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Observation

from ..support.guests import layout
from ..support.peer import Peer
from ..support.queries import bring, desired, look
from ..support.scripted_qemu import REFUSES_FOR_GOOD, Imitation

StartPeer = Callable[..., Peer]

# Of jobs whose runs are not begun, or are another's.
NO_SOURCE: Source = DirectSource()

TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}


def returned(module: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="ansible-core brings it along on controllers")
    found = importlib.import_module(f"ansible_collections.kvm.hotplug.plugins.modules.{module}")
    documentation: dict[str, Any] = yaml.safe_load(found.RETURN)
    return documentation


def documented_keys(entries: dict[str, Any]) -> dict[str, Any]:
    return {name: documented_keys(entry.get("contains", {})) for name, entry in entries.items()}


def reported_keys(*values: Any) -> dict[str, Any]:
    """The keys in any of ``values`` and, recursively, below them; lists count for their items."""
    found: dict[str, Any] = {}
    for value in values:
        if isinstance(value, list):
            for item in value:
                _merge(found, reported_keys(item))
        elif isinstance(value, dict):
            for key, below in value.items():
                _merge(found.setdefault(key, {}), reported_keys(below))
    return found


def _merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    for key, below in other.items():
        _merge(into.setdefault(key, {}), below)


def is_a(value: Any, kind: str) -> bool:
    """Whether a value has this type of the documentation; a bool is no int here."""
    return isinstance(value, TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))


def check_types(entry: dict[str, Any], value: Any, where: str) -> None:
    if value is None:
        return
    assert is_a(value, entry["type"]), where
    for item in value if entry["type"] == "list" else [value]:
        if entry["type"] == "list":
            assert is_a(item, entry["elements"]), where
        for name, below in entry.get("contains", {}).items():
            check_types(below, item[name], f"{where}.{name}")


def failure(peer: StartPeer) -> dict[str, Any]:
    result = bring(peer(Imitation(unplug={1: REFUSES_FOR_GOOD})).address, desired("2", "1"))
    # The edge adds the sentence.
    return {**convergence_report(result, details="full"), "msg": ""}


def test_the_results_of_vcpu_are_documented(peer: StartPeer) -> None:
    report = {**failure(peer), "backup_file": ""}
    assert report.pop("changed") is True
    assert reported_keys(report) == documented_keys(returned("vcpu"))
    for name, entry in returned("vcpu").items():
        check_types(entry, report[name], name)


def test_a_successful_vcpu_returns_no_error_code(peer: StartPeer) -> None:
    done = convergence_report(bring(peer(Imitation()).address, desired("2")))
    predicted = convergence_report(bring(peer(Imitation()).address, desired("2"), check_mode=True))
    assert reported_keys(done) == reported_keys(predicted)
    assert set(done) == {*returned("vcpu"), "changed"} - {"backup_file", "error_code", "msg"}


def test_the_results_of_vcpu_info_are_documented(peer: StartPeer) -> None:
    migrating = Imitation(answers={"query-migrate": {"return": {"status": "active"}}})
    lost = failure_report(
        Inspection(GuestRef(qmp_socket="/q"), error=HotplugError("monitor_unreachable", "no process listens"))
    )
    seen = {**info_report(look(peer(migrating).address)), **destination_report(["the maximum is 8 vCPUs"])}
    report = {"guests": [seen], "failed_guests": [lost], "error_code": "", "msg": ""}
    assert reported_keys(report) == documented_keys(returned("vcpu_info"))
    for name, entry in returned("vcpu_info").items():
        check_types(entry, report[name], name)


@pytest.mark.parametrize("shared", ["guest", "vcpus", "nodes", "sparse", "xml", "migration"])
def test_both_modules_document_shared_results_with_the_same_text(shared: str) -> None:
    one, other = returned("vcpu")[shared], returned("vcpu_info")["guests"]["contains"][shared]
    for only_of_one in ("can_enable", "can_disable", "host_nodes", "memory_is_local"):
        other.get("contains", {}).pop(only_of_one, None)
    # When it is returned, and of which moment it tells, is each module's own.
    for documentation in (one, other):
        documentation.pop("returned", None)
        documentation.pop("description")
    assert one == other


def guest_of(live: set[int] | None, config: set[int] | None, **more: Any) -> Observation:
    machine = layout(sockets=2, cores=2, nodes=2)
    return Observation(
        GuestState(
            GuestFacts(name="web1", state="running" if live else "shutoff"),
            machine,
            live=None if live is None else LiveState(frozenset(live), **more),
            config=None if config is None else ConfigState(frozenset(config)),
        )
    )


@pytest.mark.parametrize(
    ("live", "config", "sparse", "drift"),
    [
        ({0, 1}, {0, 1}, (False, False), ""),
        ({0, 2}, {0, 1}, (True, False), "1-2"),
        ({0, 1}, None, (False, None), None),
        (None, {0, 3}, (None, True), None),
        ({1}, {0}, (True, False), "0-1"),
    ],
)
def test_sparse_and_drift_cover_the_known_states(
    live: set[int] | None, config: set[int] | None, sparse: tuple[bool | None, bool | None], drift: str | None
) -> None:
    report = info_report(guest_of(live, config))
    assert (report["sparse"]["live"], report["sparse"]["config"]) == sparse
    placement = None if live is None or config is None else ""
    assert report["drift"] == {"config": drift, "libvirt": None, "placement": placement}
    assert (report["migration"]["feature"] == "sparse-vcpus") is any(sparse)


def test_each_vcpu_has_its_position_on_every_level() -> None:
    place = {"drawer": 0, "book": 1, "socket": 2, "die": 3, "cluster": 4, "module": 5, "core": 6, "thread": 7}
    state = GuestState(GuestFacts(), Layout((Entity(0, (0,), None, place),)), live=LiveState(frozenset({0})))
    (vcpu,) = guest_report(Observation(state))["vcpus"]
    assert {level: vcpu[level] for level in place} == place


def test_nodes_list_their_vcpus_in_each_state() -> None:
    report = guest_report(guest_of({0, 1, 2}, {0}))
    assert report["nodes"] == [
        {"id": 0, "vcpus": "0-1", "live": "0-1", "config": "0"},
        {"id": 1, "vcpus": "2-3", "live": "2", "config": ""},
    ]


def test_blockers_are_returned_with_reason_and_remedy() -> None:
    boot = Blocker("not_hotpluggable", "the guest booted on it", "leave it")
    vcpus = info_report(guest_of({0, 1}, None, cannot_disable={0: boot}))["vcpus"]
    assert vcpus[0]["can_disable"] == {
        "code": "not_hotpluggable",
        "reason": "the guest booted on it",
        "remedy": "leave it",
    }
    assert [vcpu["can_disable"] for vcpu in vcpus[1:]] == [None, None, None]
    assert [vcpu["hotpluggable"] for vcpu in vcpus] == [False, True, True, True]


def test_no_vcpu_is_hotpluggable_on_a_machine_without_hotplug() -> None:
    seen = guest_of(None, {0, 1})
    fixed = seen.state._replace(layout=seen.state.layout._replace(hotplug=False))
    assert {vcpu["hotpluggable"] for vcpu in info_report(seen._replace(state=fixed))["vcpus"]} == {False}


def test_a_part_of_a_core_cannot_be_disabled_alone() -> None:
    machine = layout(sockets=1, cores=2, threads=4, whole_core_entities=True)
    state = GuestState(GuestFacts(state="running"), machine, live=LiveState(frozenset(range(4))))
    vcpu = info_report(Observation(state))["vcpus"][5]
    assert (vcpu["entity"], vcpu["thread"], vcpu["can_enable"]["code"]) == ("4-7", 1, "partial_entity")


def test_the_diff_has_one_line_per_vcpu(peer: StartPeer) -> None:
    diff = convergence_report(bring(peer(Imitation()).address, desired("5"), check_mode=True))["diff"]
    before, after = diff["before"].splitlines(), diff["after"].splitlines()
    assert len(before) == len(after) == 8
    assert [pair for pair in zip(before, after) if pair[0] != pair[1]] == [
        ("vCPU 5 (node 1): live disabled", "vCPU 5 (node 1): live enabled")
    ]


def test_the_xml_is_that_of_the_rfc() -> None:
    root = ET.fromstring(guest_report(guest_of({0, 2}, {0}))["xml"])
    assert root.tag == "vcpus"
    assert [child.tag for child in root] == ["vcpu"] * 4
    assert [child.attrib for child in root][2] == {"id": "2", "state": "enabled", "cell": "1"}


def test_the_xml_of_a_guest_that_is_shut_off_has_its_config() -> None:
    root = ET.fromstring(guest_report(guest_of(None, {0, 3}))["xml"])
    assert [child.get("state") for child in root] == ["enabled", "disabled", "disabled", "enabled"]


def test_the_xml_is_well_formed_with_any_pin_and_scheduler() -> None:
    vcpu = {"id": 0, "live": "enabled", "config": None, "node": None, "pin": "0-3,^1", "scheduler": "<\"'&>"}
    attributes = ET.fromstring(vcpus_xml([vcpu]))[0].attrib
    assert attributes == {"id": "0", "state": "enabled", "pin": "0-3,^1", "scheduler": "<\"'&>"}


def test_the_results_of_vcpu_batch_are_documented(peer: StartPeer) -> None:
    job = Job(GuestRef(qmp_socket="/q"), NO_SOURCE, Request(desired("2")))
    job.run.result = bring(peer(Imitation(unplug={1: REFUSES_FOR_GOOD})).address, desired("2", "1"))
    report = batch_report([job], details="full")
    documented = returned("vcpu_batch")
    guest = {**report["guests"][0], "backup_file": ""}
    assert set(guest) == set(documented["guests"]["contains"])
    check_types(documented["summary"], report["summary"], "summary")
    assert set(report) - {"changed", "diff"} == set(documented) - {"error_code", "msg", "diff"}


@pytest.mark.parametrize(
    ("details", "error", "vcpus", "keys"),
    [
        (None, False, 8, {"vcpus", "nodes", "xml", "migration"}),
        ("changed", False, 1, {"vcpus", "nodes"}),
        ("none", False, None, set()),
        (None, True, 2, {"vcpus", "nodes"}),
        ("full", True, 8, {"vcpus", "nodes", "xml", "migration"}),
    ],
)
def test_details_limits_what_is_returned_of_the_guest(
    peer: StartPeer, details: str | None, error: bool, vcpus: int | None, keys: set[str]
) -> None:
    result = bring(peer(Imitation(unplug={1: REFUSES_FOR_GOOD})).address, desired("2", "1" if error else ""))
    report = convergence_report(result, details)
    assert keys == {"vcpus", "nodes", "xml", "migration"} & report.keys()
    assert vcpus is None or len(report["vcpus"]) == vcpus
    assert report["guest"]["max_vcpus"] == 8
    assert len(report["steps"]) == (2 if error else 1)
    assert len(report["diff"]["after"].splitlines()) == (8 if "xml" in keys else 2 if error else 1)


def test_the_message_of_a_batch_names_each_reason_once_with_its_guests() -> None:
    jobs = [Job(GuestRef(qmp_socket=f"/q{number}"), NO_SOURCE, Request(desired("2"))) for number in range(20)]
    for number, job in enumerate(jobs):
        if number < 19:
            job.run.refuse(
                HotplugError("guest_not_ready", "resume it") if number else HotplugError("internal", "x" * 999)
            )
    failure = batch_failure(jobs)
    assert failure is not None
    assert failure.code == "internal"
    assert failure.msg.startswith("19 of 20 guests failed. /q0 (internal): xxx")
    assert "/q1, /q2, /q3, /q4, /q5, /q6, /q7, /q8, /q9, /q10 and 8 more (guest_not_ready): resume it" in failure.msg
    assert len(failure.msg) < 700
    assert batch_failure(jobs[19:]) is None
