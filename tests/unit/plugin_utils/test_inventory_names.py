# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names of the inventory plugin's hosts, which replace no other host or group."""

from __future__ import annotations

import pytest

from ..support.inventories import KVM1, KVM2, Parse, World, data, errors, groups, sight, variables


def test_guests_of_one_name_get_their_hypervisors(world: World, parse: Parse) -> None:
    world.guests[KVM1] = {"1": sight("web1", uuid="u1"), "2": sight("web2")}
    world.guests[KVM2] = {"3": sight("web1", uuid="u3"), "4": sight("kvm1.example")}
    parsed = parse(uris=[KVM1, KVM2])
    assert groups(parsed)["guests"] == ["kvm1.example_web1", "kvm2.example_kvm1.example", "kvm2.example_web1", "web2"]
    assert variables(parsed, "kvm2.example_web1")["kvm_hotplug"]["guest"]["uuid"] == "u3"
    assert variables(parsed, "kvm1.example")["kvm_hotplug_guests"] == ["kvm1.example_web1", "web2"]


def test_guests_of_one_name_on_one_hypervisor_get_uuids_and_numbers(world: World, parse: Parse) -> None:
    world.guests["/run/*"] = {
        "/run/a": sight("web", uuid="u1"),
        "/run/b": sight("web", uuid="u2"),
        "/run/c": sight("web", uuid="u2"),
        "/run/d": sight("localhost_web"),
    }
    assert groups(parse(qmp_sockets=["/run/*"]))["guests"] == [
        "localhost_localhost_web",
        "localhost_web_u1",
        "localhost_web_u2_1",
        "localhost_web_u2_2",
    ]


@pytest.mark.parametrize(
    "name",
    ["all", "ungrouped", "hypervisors", "guests", "sparse", "state_running", "hypervisor_localhost", "localhost"],
)
def test_no_guest_replaces_a_group(world: World, parse: Parse, name: str) -> None:
    world.guests["/run/*"] = {"/run/a": sight(name, {0, 2})}
    parsed = parse(qmp_sockets=["/run/*"])
    assert groups(parsed)["guests"] == [f"localhost_{name}"]
    assert groups(parsed)["hypervisors"] == ["localhost"]
    assert not set(parsed.hosts) & set(parsed.groups)


def test_no_guest_replaces_the_controller(world: World, parse: Parse) -> None:
    world.guests[KVM1] = {"1": sight("localhost"), "2": sight("127.0.0.1")}
    assert groups(parse(uris=[KVM1]))["guests"] == ["kvm1.example_127.0.0.1", "kvm1.example_localhost"]


def test_no_guest_replaces_hosts_of_another_source(world: World, parse: Parse) -> None:
    known = data.InventoryData()
    for group in ("webservers", "hypervisors"):
        known.add_group(group)
    known.add_host("kvm9", group="hypervisors")
    known.add_host("web2", group="webservers")
    world.guests[KVM1] = {"1": sight("webservers"), "2": sight("kvm9"), "3": sight("web2")}
    parsed = parse(into=known, uris=[KVM1])
    assert groups(parsed)["guests"] == ["kvm1.example_kvm9", "kvm1.example_webservers", "web2"]
    assert groups(parsed)["webservers"] == ["web2"]


def test_no_guest_replaces_a_composed_group(world: World, parse: Parse) -> None:
    world.guests["/run/*"] = {"/run/a": sight("arch_x86_64"), "/run/b": sight("busy"), "/run/c": sight("grown")}
    parsed = parse(
        qmp_sockets=["/run/*"],
        groups={"busy": "true", "grown": "inventory_hostname == 'localhost_busy'"},
        keyed_groups=[{"key": "kvm_hotplug.guest.arch", "prefix": "arch"}],
    )
    names = ["localhost_arch_x86_64", "localhost_busy", "localhost_grown"]
    assert groups(parsed)["guests"] == groups(parsed)["arch_x86_64"] == groups(parsed)["busy"] == names
    assert groups(parsed)["grown"] == ["localhost_busy"]


def test_groups_that_are_always_named_like_guests_are_refused(world: World, parse: Parse) -> None:
    world.guests["/run/*"] = {"/run/a": sight("web1")}
    with pytest.raises(errors.AnsibleParserError, match="set a prefix"):
        parse(qmp_sockets=["/run/*"], keyed_groups=[{"key": "inventory_hostname", "prefix": "", "separator": ""}])


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("..", "_."),
        (".", "_"),
        ("../web1", "_._web1"),
        ("/etc", "_etc"),
        ("-web1", "_web1"),
        ("web1.yml", "web1_yml"),
        ("web1.json", "web1_json"),
        ("~web1", "_web1"),
        ("!web1,web2", "_web1_web2"),
        ("web1.example", "web1.example"),
    ],
)
def test_names_whose_host_vars_would_be_those_of_others_are_replaced(
    world: World, parse: Parse, name: str, safe: str
) -> None:
    world.guests["/run/*"] = {"/run/a": sight(name)}
    assert groups(parse(qmp_sockets=["/run/*"]))["guests"] == [safe]


def test_a_uuid_in_a_name_is_as_safe_as_the_name(world: World, parse: Parse) -> None:
    world.guests["/run/*"] = {"/run/a": sight("web", uuid="a/../b"), "/run/b": sight("web")}
    assert groups(parse(qmp_sockets=["/run/*"]))["guests"] == ["localhost_web_1", "localhost_web_a_.._b"]


@pytest.mark.parametrize(
    ("hostname", "names"),
    [
        ("name", ["run_b_qmp.sock", "web1"]),
        ("uuid", ["run_b_qmp.sock", "u1"]),
        ("hypervisor_name", ["localhost_run_b_qmp.sock", "localhost_web1"]),
    ],
)
def test_hostname_selects_the_names_of_guests(world: World, parse: Parse, hostname: str, names: list[str]) -> None:
    world.guests["/run/*/qmp.sock"] = {"/run/a/qmp.sock": sight("web1", uuid="u1"), "/run/b/qmp.sock": sight(None)}
    assert groups(parse(qmp_sockets=["/run/*/qmp.sock"], hostname=hostname))["guests"] == names


def test_an_untrusted_name_is_neither_a_pattern_nor_a_template(world: World, parse: Parse) -> None:
    hostile = "@a:b,c[0] {{ lookup('pipe', 'id') }}"
    world.guests["/run/*"] = {"/run/a": sight(hostile, {0})}
    parsed = parse(qmp_sockets=["/run/*"], compose={"again": "kvm_hotplug.guest.name"})
    assert groups(parsed)["guests"] == ["_a_b_c_0_____lookup__pipe____id_____"]
    found = variables(parsed, groups(parsed)["guests"][0])
    assert found["kvm_hotplug"]["guest"]["name"] == hostile
    try:
        from ansible.template import is_trusted_as_template
    except ImportError:
        from ansible.utils.unsafe_proxy import AnsibleUnsafe

        for name in (found["kvm_hotplug"]["guest"]["name"], found["again"]):
            assert isinstance(name, AnsibleUnsafe)
    else:
        for name in (found["kvm_hotplug"]["guest"]["name"], found["again"]):
            assert not is_trusted_as_template(name)
