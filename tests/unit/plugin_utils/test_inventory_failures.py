# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory plugin with guests that cannot be reached, and with wrong options."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends import discover
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    GUEST_NOT_FOUND,
    MONITOR_UNREACHABLE,
    HotplugError,
    MissingLibrary,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import GuestRef
from ansible_collections.kvm.hotplug.plugins.module_utils.run.inspection import Inspection

from ..support.inventories import KVM1, KVM2, Parse, World, errors, groups, inspection, inventory, sight, variables


def test_unreachable_guests_do_not_hide_others(world: World, parse: Parse, warned: list[str]) -> None:
    world.failing[KVM1] = HotplugError(MONITOR_UNREACHABLE, "cannot connect to libvirt at kvm1")
    world.guests[KVM2] = {
        "1": sight("web1"),
        "2": Inspection(GuestRef(KVM1, "2"), error=HotplugError(GUEST_NOT_FOUND, "it is gone")),
    }
    parsed = parse(uris=[KVM1, KVM2])
    assert groups(parsed)["guests"] == ["web1"]
    assert groups(parsed)["hypervisors"] == ["kvm1.example", "kvm2.example"]
    assert variables(parsed, "kvm1.example")["kvm_hotplug_guests"] == []
    assert warned == ["cannot connect to libvirt at kvm1", f"guest 2 of {KVM1}: it is gone"]
    with pytest.raises(errors.AnsibleParserError, match=r"kvm1; guest 2 of .*: it is gone"):
        parse(uris=[KVM1, KVM2], unreachable="fail")


def test_a_missing_library_is_named(world: World, parse: Parse) -> None:
    world.failing[KVM1] = MissingLibrary("libvirt-python", "https://pypi.org/project/libvirt-python/")
    with pytest.raises(errors.AnsibleParserError, match=r"\(libvirt-python\)"):
        parse(uris=[KVM1])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "neither uris nor qmp_sockets"),
        ({"uris": [7]}, "7"),
        ({"uris": [{"hypervisor": "kvm1"}]}, "uri is required"),
        ({"uris": [{"uri": KVM1, "host": "kvm1"}]}, "nothing else"),
        ({"uris": [{"uri": KVM1, "hypervisor": ""}]}, "dictionary of uri and hypervisor"),
        ({"uris": ["system"]}, "no uri of a libvirt"),
        ({"uris": ["qemu+ssh://[fd00::1/system"]}, "no uri"),
        ({"uris": ["qemu+ssh://kvm1:port/system"]}, "no uri"),
        ({"uris": [KVM1, KVM1]}, "twice"),
        ({"uris": ["qemu+ssh://a@kvm1/system", "qemu+ssh://b@kvm1/session"]}, "a hypervisor of its own"),
        ({"uris": ["qemu+ssh://localhost/system"], "qmp_sockets": ["/run/*"]}, "a hypervisor of its own"),
        ({"qmp_sockets": [{"path": "/run/*"}]}, "list of strings"),
        ({"uris": [KVM1], "hostname": "fqdn"}, "hostname"),
        ({"uris": [KVM1], "unreachable": "ignore"}, "unreachable"),
    ],
    ids=str,
)
def test_wrong_options_are_named(world: World, parse: Parse, options: dict[str, Any], says: str) -> None:
    with pytest.raises(errors.AnsibleError, match=says):
        parse(**options)
    assert world.looked == []


@pytest.mark.parametrize(
    ("options", "says"), [({"timeout": 0}, "timeout is 0"), ({"max_concurrency": 257}, "max_concurrency is 257")]
)
def test_limits_out_of_range_are_named(parse: Parse, options: dict[str, Any], says: str) -> None:
    with pytest.raises(errors.AnsibleParserError, match=says):
        parse(qmp_sockets=["/nowhere/*"], **options)


def test_each_uri_and_pattern_is_inspected_separately(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    async def names_at(params: Mapping[str, Any], _kept: object) -> dict[str, str]:
        asked.append((params["uri"], params["probe"]))
        if params["uri"] == KVM2:
            raise HotplugError(MONITOR_UNREACHABLE, "down")
        return {"u1": "web1"}

    async def inspect_all(sources: Mapping[str, Any], _concurrency: int) -> list[Inspection]:
        return [Inspection(ref) for ref in sources]

    find = functools.partial(discover.guests_named, list_names=names_at)
    (tmp_path / "a.sock").touch()
    sockets = [str(tmp_path / "*.sock"), str(tmp_path / "a*"), str(tmp_path / "none")]
    places = [("uris", uri) for uri in ("qemu:///system", KVM1, KVM2)] + [("qmp_sockets", one) for one in sockets]
    params = {
        **{option: spec.get("default") for option, spec in inventory.GUEST_OPTIONS.items()},
        "qmp_sockets": None,
        "max_concurrency": 16,
        "timeout": 15.0,
    }
    sights, failures = asyncio.run(inspection.inspect_places(places, params, find, inspect_all))
    assert asked == [("qemu:///system", "auto"), (KVM1, "never"), (KVM2, "never")]
    assert set(failures) == {("uris", KVM2), ("qmp_sockets", sockets[2])}
    assert {place: {named: one.ref.described for named, one in here.items()} for place, here in sights.items()} == {
        ("uris", "qemu:///system"): {"u1": "guest web1 of qemu:///system"},
        ("uris", KVM1): {"u1": f"guest web1 of {KVM1}"},
        ("qmp_sockets", sockets[0]): {str(tmp_path / "a.sock"): str(tmp_path / "a.sock")},
        ("qmp_sockets", sockets[1]): {str(tmp_path / "a.sock"): str(tmp_path / "a.sock")},
    }
