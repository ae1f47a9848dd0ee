# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters of the inventory plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..support.inventories import KVM1, Parse, World, errors, groups, sight, variables


@pytest.mark.parametrize(
    ("filters", "included"),
    [
        ([], ["db1", "web1", "web2"]),
        ([{"exclude": "kvm_hotplug.guest.state == 'shutoff'"}], ["db1", "web1"]),
        ([{"include": "kvm_hotplug.guest.name is match('web')"}, {"exclude": True}], ["web1", "web2"]),
        ([{"exclude": "kvm_hotplug_options.qmp_socket is defined"}, {"exclude": "false"}], ["web1", "web2"]),
        ([{"include": "kvm_hotplug_hypervisor == 'localhost'"}, {"exclude": "true"}], ["db1"]),
    ],
)
def test_the_first_filter_that_a_guest_meets_decides(
    world: World, parse: Parse, filters: list[dict[str, Any]], included: list[str]
) -> None:
    world.guests[KVM1] = {"1": sight("web1", {0}), "2": sight("web2")}
    world.guests["/run/*"] = {"/run/db1": sight("db1", {0})}
    parsed = parse(uris=[KVM1], qmp_sockets=["/run/*"], filters=filters)
    assert groups(parsed).get("guests", []) == included
    on_kvm1 = variables(parsed, "kvm1.example")["kvm_hotplug_guests"]
    assert on_kvm1 == [name for name in ("web1", "web2") if name in included]


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ("true", "give a dictionary of include or exclude"),
        ([{"include": "true", "exclude": "true"}], "give a dictionary of include or exclude"),
        ([{"only": "true"}], "give a dictionary of include or exclude"),
        ([{"include": 1}], "give a dictionary of include or exclude"),
        ([{"include": "kvm_hotplug.gest.name == 'a'"}], "cannot be evaluated"),
        ([{"include": "1 +"}], "cannot be evaluated"),
        ([{"include": "kvm_hotplug.guest.name"}], "give a condition that is true or false"),
    ],
)
def test_filters_that_are_no_conditions_are_refused(world: World, parse: Parse, filters: Any, problem: str) -> None:
    world.guests["/run/*"] = {"/run/a": sight("web1")}
    with pytest.raises(errors.AnsibleParserError, match=problem):
        parse(qmp_sockets=["/run/*"], filters=filters)


def test_a_filter_that_changes_uses_the_cached_guests(world: World, parse: Parse, tmp_path: Path) -> None:
    world.guests["/run/*"] = {"/run/a": sight("web1"), "/run/b": sight("web2")}
    cache = {"cache": True, "cache_plugin": "jsonfile", "cache_connection": str(tmp_path / "cache")}
    parse(qmp_sockets=["/run/*"], **cache)
    parsed = parse(qmp_sockets=["/run/*"], filters=[{"exclude": "kvm_hotplug.guest.name == 'web1'"}], **cache)
    assert (groups(parsed)["guests"], world.looked) == (["web2"], ["/run/*"])


def test_a_name_that_is_a_template_is_not_evaluated_by_a_filter(world: World, parse: Parse) -> None:
    world.guests["/run/*"] = {"/run/a": sight("{{ 6 * 7 }}")}
    filters = [{"include": "kvm_hotplug.guest.name == '{' ~ '{ 6 * 7 }' ~ '}'"}, {"exclude": True}]
    assert len(groups(parse(qmp_sockets=["/run/*"], filters=filters))["guests"]) == 1
