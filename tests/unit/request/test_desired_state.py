# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parsing of the options with the desired state, and codes for requests that no guest could satisfy."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Maximum
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import (
    CountTarget,
    DesiredState,
    NodeTarget,
    VcpuTarget,
    parse_desired_state,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import LONGEST_TIMEOUT
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import parse_request

DEFAULTS = {
    "scope": "all",
    "method": "hotplug",
    "drain": True,
    "cputune": "apply",
    "granularity": "thread",
    "guest_online": "ensure",
    "missing_agent": "warn",
    "on_failure": "keep",
    "boot_vcpus": "keep",
    "nodes": None,
    "timeout": 60.0,
}


def on(ids: str) -> dict[str, Any]:
    return {"id": ids, "state": "enabled"}


def off(ids: str) -> dict[str, Any]:
    return {"id": ids, "state": "disabled"}


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"vcpus": [on("2,5-6")]}, VcpuTarget(frozenset({2, 5, 6}), frozenset())),
        ({"vcpus": [on("1"), off("2")]}, VcpuTarget(frozenset({1}), frozenset({2}))),
        ({"vcpus": [on("1"), on("1-2")]}, VcpuTarget(frozenset({1, 2}), frozenset())),
        ({"vcpus": [on("0")], "exclusive": True}, VcpuTarget(frozenset({0}), frozenset(), exclusive=True)),
        ({"enabled": "0-2,5"}, VcpuTarget(frozenset({0, 1, 2, 5}), frozenset(), exclusive=True)),
        ({"nodes": [{"id": "0-1", "count": 2}]}, NodeTarget({0: 2, 1: 2})),
        ({"nodes": [{"id": "1", "count": 0}]}, NodeTarget({1: 0})),
        ({"nodes": [on("0"), off("1")]}, NodeTarget({0: "enabled", 1: "disabled"})),
        ({"nodes": [on("0"), {"id": "1", "count": 3}]}, NodeTarget({0: "enabled", 1: 3})),
        ({"count": 4}, CountTarget(4)),
        ({"count": 4, "placement": "spread"}, CountTarget(4, spread=True)),
    ],
)
def test_options_become_a_desired_state(options: dict[str, Any], wanted: DesiredState) -> None:
    assert parse_desired_state(options) == wanted


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "conflicting_request"),
        ({"vcpus": []}, "conflicting_request"),
        ({"count": 2, "exclusive": True}, "conflicting_request"),
        ({"vcpus": [on("1")], "placement": "spread"}, "conflicting_request"),
        ({"nodes": []}, "conflicting_request"),
        ({"vcpus": [on("1"), off("1")]}, "conflicting_request"),
        ({"vcpus": [on("0-3"), off("3-5")]}, "conflicting_request"),
        ({"nodes": [on("1"), off("1")]}, "conflicting_request"),
        ({"nodes": [{"id": "1", "count": 1}, {"id": "1", "count": 2}]}, "conflicting_request"),
        ({"nodes": [{"id": "1", "count": 1}, on("0-1")]}, "conflicting_request"),
        ({"nodes": [{"id": "1"}]}, "conflicting_request"),
        ({"nodes": [{"id": "1", "count": 1, "state": "enabled"}]}, "conflicting_request"),
        ({"nodes": [{"id": "1", "count": -1}]}, "count_unreachable"),
        ({"count": 0}, "count_unreachable"),
        ({"count": -3}, "count_unreachable"),
        ({"vcpus": [on("3-1")]}, "unknown_vcpu"),
        ({"vcpus": [on("a")]}, "unknown_vcpu"),
        ({"vcpus": [on("-1")]}, "unknown_vcpu"),
        ({"vcpus": [on("")]}, "unknown_vcpu"),
        ({"vcpus": [on("1-99999999999")]}, "unknown_vcpu"),
        ({"nodes": [on("a")]}, "unknown_node"),
        ({"nodes": [{"id": "0,^0", "count": 1}]}, "unknown_node"),
    ],
)
def test_a_request_that_no_guest_could_satisfy_is_refused_with_a_code(options: dict[str, Any], code: str) -> None:
    with pytest.raises(HotplugError) as caught:
        parse_desired_state(options)
    assert caught.value.code == code


def test_a_contradiction_names_the_disputed_ids() -> None:
    with pytest.raises(HotplugError, match="vCPU 2-3 is requested in two different states"):
        parse_desired_state({"vcpus": [on("0-3"), off("2-5")]})


def test_the_request_contains_the_execution_options() -> None:
    asked = {
        **DEFAULTS,
        "count": 2,
        "scope": "live",
        "granularity": "core",
        "guest_online": "verify",
        "on_failure": "rollback",
        "timeout": 5,
    }
    request = parse_request(asked, check_mode=True)
    assert (request.scope, request.whole_cores, request.guest_online) == ("live", True, "verify")
    assert (request.rollback, request.timeout, request.check_mode) == (True, 5.0, True)


@pytest.mark.parametrize("timeout", [0, -1, LONGEST_TIMEOUT + 1, float("inf"), float("-inf"), float("nan")])
def test_an_invalid_timeout_is_refused(timeout: float) -> None:
    with pytest.raises(HotplugError, match="timeout is") as caught:
        parse_request({**DEFAULTS, "count": 2, "timeout": timeout}, check_mode=False)
    assert caught.value.code == "conflicting_request"


def test_the_maximum_is_parsed_with_its_node() -> None:
    request = parse_request({**DEFAULTS, "maximum": 12, "maximum_node": 1}, check_mode=False)
    assert (request.desired, request.maximum) == (None, Maximum(12, 1))
    assert parse_request({**DEFAULTS, "count": 4}, check_mode=False).maximum is None


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"maximum": 12, "scope": "live"}, "conflicting_request"),
        ({"maximum": 12, "method": "agent", "scope": "live"}, "conflicting_request"),
        ({"count": 2, "maximum_node": 1}, "conflicting_request"),
        ({"maximum": 0}, "count_unreachable"),
    ],
)
def test_a_maximum_that_no_guest_could_have_is_refused(given: dict[str, Any], code: str) -> None:
    with pytest.raises(HotplugError) as caught:
        parse_request({**DEFAULTS, **given}, check_mode=False)
    assert caught.value.code == code
