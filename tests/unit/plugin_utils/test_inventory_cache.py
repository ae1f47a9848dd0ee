# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cache of the inventory plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    GUEST_NOT_FOUND,
    MONITOR_UNREACHABLE,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import GuestRef
from ansible_collections.kvm.hotplug.plugins.module_utils.run.inspection import Inspection

from ..support.inventories import KVM1, KVM2, Parse, World, groups, sight, variables


@pytest.fixture
def cached(tmp_path: Path) -> dict[str, Any]:
    return {"cache": True, "cache_plugin": "jsonfile", "cache_connection": str(tmp_path / "cache")}


def test_cached_guests_are_not_inspected_again(world: World, parse: Parse, cached: dict[str, Any]) -> None:
    options = {**cached, "uris": [KVM1], "qmp_sockets": ["/run/*"]}
    world.guests = {KVM1: {"1": sight("web1", {0, 2}, {0})}, "/run/*": {"/run/a": sight("db", {0})}}
    first = parse(**options)
    again = parse(**options)
    assert world.looked == [KVM1, "/run/*"]
    assert groups(again) == groups(first)
    for host in ("web1", "db", "kvm1.example", "localhost"):
        assert variables(again, host) == variables(first, host)


def test_a_refresh_inspects_again(world: World, parse: Parse, cached: dict[str, Any]) -> None:
    world.guests[KVM1] = {"1": sight("web1")}
    parse(**cached, uris=[KVM1])
    world.guests[KVM1] = {"1": sight("web2")}
    assert groups(parse(**cached, uris=[KVM1]))["guests"] == ["web1"]
    assert groups(parse(fresh=True, **cached, uris=[KVM1]))["guests"] == ["web2"]
    assert groups(parse(**cached, uris=[KVM1]))["guests"] == ["web2"]


def test_only_new_uris_are_inspected(world: World, parse: Parse, cached: dict[str, Any]) -> None:
    world.guests = {KVM1: {"1": sight("web1")}, KVM2: {"2": sight("web2")}}
    parse(**cached, uris=[KVM1])
    assert groups(parse(**cached, uris=[KVM1, KVM2]))["guests"] == ["web1", "web2"]
    assert groups(parse(**cached, uris=[KVM2]))["guests"] == ["web2"]
    assert world.looked == [KVM1, KVM2]


def test_unreachable_uris_are_inspected_again(world: World, parse: Parse, cached: dict[str, Any]) -> None:
    world.guests = {KVM1: {"1": sight("web1")}, KVM2: {"2": sight("web2")}}
    world.failing[KVM1] = HotplugError(MONITOR_UNREACHABLE, "down")
    assert groups(parse(**cached, uris=[KVM1, KVM2]))["guests"] == ["web2"]
    world.failing.clear()
    assert groups(parse(**cached, uris=[KVM1, KVM2]))["guests"] == ["web1", "web2"]
    assert world.looked == [KVM1, KVM2, KVM1]


def test_failed_guests_are_inspected_again(world: World, parse: Parse, cached: dict[str, Any]) -> None:
    world.guests[KVM1] = {
        "1": sight("web1"),
        "2": Inspection(GuestRef(KVM1, "2"), error=HotplugError(GUEST_NOT_FOUND, "gone")),
    }
    parse(**cached, uris=[KVM1])
    world.guests[KVM1] = {"1": sight("web1"), "2": sight("web2")}
    assert groups(parse(**cached, uris=[KVM1]))["guests"] == ["web1", "web2"]
