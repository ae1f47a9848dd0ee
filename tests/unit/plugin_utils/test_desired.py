# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The desired state of a hypervisor's guests in the inventory, and the check of its options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.plugin_utils.desired import desired_guests, desired_rows

from ..support.rollouts import SOCKET, WEB1, desired

INVENTORY: dict[str, Any] = {
    "h1": {"kvm_hotplug_guests": ["web1", "db"]},
    "web1": {"kvm_hotplug_options": {"qmp_socket": SOCKET}, "kvm_hotplug_desired": {"count": 4}},
    "db": {"kvm_hotplug_options": {"name": "db1", "uri": "qemu:///system"}},
}


def test_guests_of_the_inventory_have_their_own_desired_state() -> None:
    assert desired_guests(INVENTORY, "h1") == [WEB1]


def test_the_desired_state_of_a_guest_can_be_its_enabled_vcpus() -> None:
    inventory = {**INVENTORY, "web1": {**INVENTORY["web1"], "kvm_hotplug_desired": {"enabled": "0-3,6"}}}
    guests = desired_guests(inventory, "h1")
    assert guests == [{"qmp_socket": SOCKET, "enabled": "0-3,6"}]
    assert [row["blocked_by"] for row in desired_rows(guests, {}, inventory, "h1")] == [""]


@pytest.mark.parametrize("guests", [[], [{"name": "web2", "count": 2}]], ids=["none", "one"])
def test_the_desired_guests_of_a_hypervisor_replace_those_of_its_guests(guests: list[Any]) -> None:
    inventory = {**INVENTORY, "h1": {**INVENTORY["h1"], "kvm_hotplug_desired_guests": guests}}
    assert desired_guests(inventory, "h1") == guests


def test_a_hypervisor_without_variables_has_no_desired_guests() -> None:
    assert desired_guests({"h1": {}}, "h1") == []


def test_guests_are_named_as_in_the_inventory_or_by_their_options() -> None:
    guests = [WEB1, {"name": "db1", "count": 2}, {"name": "db1", "uri": "qemu:///session", "count": 2}]
    rows = desired_rows(guests, {}, INVENTORY, "h1")
    assert [(row["guest"], row["host"]) for row in rows] == [("web1", "web1"), ("db", "db"), ("db1", None)]
    assert [row["key"] for row in rows] == [SOCKET, "db1 at qemu:///system", "db1 at qemu:///session"]


def test_a_name_of_an_earlier_plan_is_kept() -> None:
    (row,) = desired_rows([WEB1], {}, {"h1": {}}, "h1", [{"key": SOCKET, "guest": "web1"}])
    assert row["guest"] == "web1"


def test_defaults_belong_to_what_identifies_a_guest() -> None:
    (row,) = desired({"name": "web1", "count": 2}, defaults={"uri": "qemu:///session", "timeout": 5, "max_disable": 0})
    assert row["key"] == "web1 at qemu:///session"
    assert row["options"] == {"name": "web1", "uri": "qemu:///session", "timeout": 5}
    assert row["desired"] == {"name": "web1", "count": 2}


@pytest.mark.parametrize(
    ("guest", "why"),
    [
        ({"name": "web1", "cuont": 3}, "cuont"),
        ({"name": "web1"}, "count"),
        ({"count": 3}, "name"),
        ({"name": "web1", "count": "many"}, "many"),
        ({"name": "web1", "expected": 2, "count": 1}, "expected"),
        ({"name": "web1", "vcpus": [{"id": "3-1", "state": "enabled"}]}, "3-1"),
        ("web1", "dictionary of options"),
        (None, "dictionary of options"),
    ],
    ids=str,
)
def test_invalid_options_block_their_guest_and_no_other(guest: Any, why: str) -> None:
    invalid, valid = desired(guest, WEB1)
    assert (invalid["blocked_by"], valid["blocked_by"]) == ("options", "")
    assert invalid["blocker"] in ("conflicting_request", "unknown_vcpu")
    assert why in invalid["msg"]


def test_a_guest_that_is_named_twice_is_invalid() -> None:
    first, second = desired(WEB1, {"qmp_socket": SOCKET, "count": 2})
    assert (first["blocked_by"], second["blocked_by"]) == ("", "options")
    assert "named twice" in second["msg"]
    assert first["key"] != second["key"]


class Lazy(dict[str, Any]):
    """As Ansible's variables are: what they have is templated on access only, and copies are refused."""

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return value.replace("{{ four }}", "4") if isinstance(value, str) else value

    def items(self) -> Any:
        raise AssertionError("the untemplated values are used")

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def __deepcopy__(self, _memo: object) -> Any:
        raise AssertionError("a template is copied")


def test_variables_are_templated_before_they_are_used() -> None:
    guests = desired_guests({"h1": {"kvm_hotplug_desired_guests": [Lazy(name="web1", count="{{ four }}")]}}, "h1")
    assert guests == [{"name": "web1", "count": "4"}]
    assert not isinstance(guests[0], Lazy)


def test_boot_vcpus_can_be_all_that_is_desired_by_the_guest_or_by_the_defaults() -> None:
    rows = desired({"name": "web1", "boot_vcpus": "hotpluggable"}, {"name": "web2", "count": 2})
    assert [row["blocker"] for row in rows] == ["", ""]
    (row,) = desired({"name": "web1"}, defaults={"boot_vcpus": "hotpluggable"})
    assert (row["blocker"], row["desired"]) == ("", {"name": "web1"})
    (live,) = desired({"name": "web1", "scope": "live"}, defaults={"boot_vcpus": "hotpluggable"})
    assert (live["blocker"], live["blocked_by"]) == ("conflicting_request", "options")
