# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory plugin: its files, groups, variables and hypervisors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.model import LiveState

from ..support.inventories import KVM1, KVM2, Parse, World, data, errors, groups, hosts, inventory, sight, variables


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("guests.yml", True),
        ("guests.yaml", True),
        ("kvm_hotplug.yml", True),
        ("prod.guests.yml", True),
        ("prod.kvm_hotplug.yaml", True),
        ("myguests.yml", False),
        ("guests.ini", False),
        ("hosts.yml", False),
    ],
)
def test_files_are_recognised_by_their_names(tmp_path: Path, name: str, ours: bool) -> None:
    (tmp_path / name).write_text("", encoding="utf-8")
    assert inventory.InventoryModule().verify_file(str(tmp_path / name)) is ours


def test_guests_are_grouped_by_hypervisor_state_and_drift(world: World, parse: Parse) -> None:
    world.guests[KVM1] = {
        "1": sight("steady", {0, 1}, {0, 1}),
        "2": sight("drifting", {0, 1}, {0, 2}),
        "3": sight("asleep", None, {0, 1}),
    }
    world.guests["/run/*/qmp.sock"] = {"/run/web1/qmp.sock": sight("web1", {0, 3}, state="paused")}
    found = groups(parse(uris=[KVM1], qmp_sockets=["/run/*/qmp.sock"]))
    assert found == {
        "guests": ["asleep", "drifting", "steady", "web1"],
        "hypervisors": ["kvm1.example", "localhost"],
        "hypervisor_kvm1_example": ["asleep", "drifting", "steady"],
        "hypervisor_localhost": ["web1"],
        "state_running": ["drifting", "steady"],
        "state_shutoff": ["asleep"],
        "state_paused": ["web1"],
        "drifted": ["drifting"],
        "sparse": ["drifting", "web1"],
    }


def test_a_record_that_libvirt_has_not_kept_is_drift(world: World, parse: Parse) -> None:
    stale = sight("web1", {0, 1}, {0, 1})
    assert stale.seen is not None
    live = LiveState(frozenset({0, 1}), recorded=frozenset({0, 1, 2}))
    stale.seen = stale.seen._replace(state=stale.seen.state._replace(live=live))
    world.guests["qemu:///system"] = {"1": stale}
    assert groups(parse(uris=["qemu:///system"]))["drifted"] == ["web1"]


def test_a_guest_has_options_for_the_controller_and_for_its_hypervisor(world: World, parse: Parse) -> None:
    world.guests[KVM2] = {"1": sight("web1", {0, 1}, uuid="u1")}
    world.guests["/run/*.sock"] = {"/run/db.sock": sight("db", {0})}
    parsed = parse(uris=[{"uri": KVM2, "hypervisor": "kvm2"}], qmp_sockets=["/run/*.sock"])
    web1 = variables(parsed, "web1")
    assert web1["kvm_hotplug_hypervisor"] == "kvm2"
    assert web1["kvm_hotplug_options"] == {"name": "web1", "uri": "qemu:///system"}
    assert web1["kvm_hotplug_controller_options"] == {"name": "web1", "uri": KVM2}
    assert web1["kvm_hotplug"]["guest"]["uuid"] == "u1"
    assert web1["kvm_hotplug"]["vcpus"][3]["live"] == "disabled"
    assert variables(parsed, "db")["kvm_hotplug_hypervisor"] == "localhost"
    assert variables(parsed, "db")["kvm_hotplug_options"] == {"qmp_socket": "/run/db.sock"}
    kvm2 = variables(parsed, "kvm2")
    assert kvm2["kvm_hotplug_guests"] == ["web1"]
    assert {name: value for name, value in kvm2.items() if name.startswith("ansible_")} == {
        "ansible_host": "kvm2.example",
        "ansible_user": "admin",
        "ansible_port": 2222,
        "ansible_ssh_private_key_file": "/keys/id",
    }
    here = variables(parsed, "localhost")
    assert (here["ansible_connection"], here["ansible_python_interpreter"]) == ("local", sys.executable)


@pytest.mark.parametrize(
    ("uri", "there", "leading"),
    [
        ("qemu+ssh://kvm1/system", "qemu:///system", {"ansible_host": "kvm1"}),
        ("qemu+tls://kvm1:16514/system?pkipath=/pki", "qemu:///system", {"ansible_host": "kvm1"}),
        ("qemu+tcp://user@kvm1/session", "qemu:///session", {"ansible_host": "kvm1"}),
        (
            "qemu+libssh2://a%40b@[fd00::1]/system?socket=/run/a%20b&known_hosts=/k",
            "qemu:///system?socket=/run/a+b",
            {"ansible_host": "fd00::1", "ansible_user": "a@b"},
        ),
        ("qemu+unix:///session?socket=/run/x", "qemu+unix:///session?socket=/run/x", hosts.local_variables()),
    ],
)
def test_the_uri_on_the_hypervisor(uri: str, there: str, leading: dict[str, Any]) -> None:
    [libvirt] = hosts.libvirts_of([uri])
    assert (libvirt.uri, libvirt.uri_on_hypervisor, libvirt.variables) == (uri, there, leading)


def test_a_host_that_the_inventory_has_already_is_connected_to_as_before(world: World, parse: Parse) -> None:
    known = data.InventoryData()
    known.add_host("kvm1.example")
    known.set_variable("kvm1.example", "ansible_user", "me")
    world.guests[KVM1] = {"1": sight("web1")}
    found = variables(parse(into=known, uris=[KVM1]), "kvm1.example")
    assert (found["ansible_user"], found["kvm_hotplug_guests"]) == ("me", ["web1"])
    assert "ansible_host" not in found


def test_a_socket_that_two_patterns_name_is_one_guest(world: World, parse: Parse) -> None:
    world.guests["/run/*"] = world.guests["/run/a"] = {"/run/a": sight("web1")}
    assert groups(parse(qmp_sockets=["/run/*", "/run/a", "/run/a"]))["guests"] == ["web1"]


def test_composed_variables_and_groups(world: World, parse: Parse) -> None:
    world.guests["/run/*"] = {"/run/a": sight("web1", {0, 1}), "/run/b": sight("db", None, {0})}
    parsed = parse(
        qmp_sockets=["/run/*"],
        compose={"enabled": "kvm_hotplug.vcpus | selectattr('live', 'eq', 'enabled') | length"},
        groups={"busy": "enabled | int > 1"},
        keyed_groups=[{"key": "kvm_hotplug.guest.arch", "prefix": "arch"}],
    )
    # Before 2.19, ansible-core made strings of them.
    assert [int(variables(parsed, host)["enabled"]) for host in ("web1", "db")] == [2, 0]
    assert groups(parsed)["busy"] == ["web1"]
    assert groups(parsed)["arch_x86_64"] == ["db", "web1"]


def test_strict_applies_to_expressions(world: World, parse: Parse) -> None:
    world.guests["/run/*"] = {"/run/a": sight("web1")}
    options: dict[str, Any] = {"qmp_sockets": ["/run/*"], "compose": {"wrong": "nothing.there"}}
    assert "wrong" not in variables(parse(**options), "web1")
    with pytest.raises(errors.AnsibleError, match="wrong"):
        parse(**options, strict=True)
