# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drift of guests in rows, without any guest."""

from __future__ import annotations

from typing import Any

from ansible_collections.kvm.hotplug.plugins.plugin_utils.audit import (
    audit_failures,
    audit_full,
    audit_problems,
    audit_report,
)
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_plan import plan_rows

from ..support.rollouts import desired, planned, result

URI = "qemu:///system"


def inspected(live: str, libvirt: str = "", placement: str = "", **guest: Any) -> dict[str, Any]:
    """Return what vcpu_info returns of a guest."""
    seen = result(live, config="01", guest={"name": "web1", "uuid": None, "state": "running", **guest})
    return {**seen, "drift": {"config": "", "libvirt": libvirt, "placement": placement}}


def test_each_guest_has_one_row_with_all_of_its_drift() -> None:
    plans = planned("0123", "plug 2 planned", config="01")
    looks = [{"guests": [inspected("013", libvirt="3", placement="2")], "failed_guests": []}]
    (row,) = audit_report(plans, looks, "h1")["guests"]
    assert row["drifts"] == "config: 3, libvirt: 3, placement: 2, desired: plug 2"
    assert row["drift"] == {"config": "3", "libvirt": "3", "placement": "2", "desired": "plug 2"}
    assert not {"key", "identity"} & set(row)


def test_guests_without_a_desired_state_and_those_that_fail_have_rows_too() -> None:
    failed = {"guest": "web2", "error_code": "monitor_busy", "msg": "why"}
    report = audit_report(
        [], [{"item": URI, "guests": [inspected("01", uuid="u", name="db")], "failed_guests": [failed]}], "h1"
    )
    assert [(row["guest"], row["drifts"]) for row in report["guests"]] == [("db", ""), ("web2", "monitor_busy")]


def test_a_guest_that_failed_in_the_plan_is_not_repeated() -> None:
    plans = plan_rows(
        desired({"name": "web2", "count": 2}, {"name": "web2", "uri": "qemu:///session", "count": 2}),
        {"guests": [{**result(None), "vcpus": [], "failed": True, "error_code": "monitor_busy", "guest": {}}] * 2},
    )
    failed = {"guest": "web2", "error_code": "monitor_busy", "msg": "why"}
    looks = [
        {"item": uri, "guests": [], "failed_guests": [failed]} for uri in (URI, "qemu:///session", "qemu:///other")
    ]
    guests = [row["guest"] for row in audit_report(plans, looks, "h1")["guests"]]
    assert guests == [f"web2 (web2 at {URI})", "web2 (web2 at qemu:///session)", "web2"]


def test_daemons_and_sockets_without_a_result_are_no_guests() -> None:
    looks = [
        {"item": URI, "error_code": "backend_missing", "msg": "no libvirt-python", "failed": True},
        {"unreachable": True, "msg": "no route"},
    ]
    report = audit_report([], looks, "h1")
    assert report["guests"] == []
    assert audit_failures(report["failures"]) == [
        f"{URI} on h1: backend_missing: no libvirt-python",
        "audit_qmp_sockets on h1: unreachable: no route",
    ]


def test_guests_that_have_reached_their_maximum_are_named() -> None:
    headrooms = [{"live": 0, "config": 6}, {"live": None, "config": 0}, {"live": 2, "config": 2}, {"live": None}]
    rows = [{"guest": f"web{n}", "hypervisor": "h1", "headroom": found} for n, found in enumerate(headrooms)]
    assert audit_full(rows) == ["without headroom (option maximum): web0 on h1, web1 on h1"]
    assert audit_full(rows[2:]) == []
    (line,) = audit_full(rows[:1] * 12)
    assert line.endswith("web0 on h1 and 2 more")


def test_problems_name_the_guest_and_its_hypervisor() -> None:
    guests = audit_report(planned("0123", "plug 2 planned"), [], "h1")["guests"]
    assert audit_problems(guests, []) == ["web1 on h1: desired: plug 2"]
