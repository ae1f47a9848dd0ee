# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory plugin: its options, groups, names, variables and cache, and guests that cannot be reached."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest
from ansible.module_utils import _internal

from ansible_collections.kvm.hotplug.plugins.module_utils.backends import discover
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    GUEST_NOT_FOUND,
    MONITOR_UNREACHABLE,
    HotplugError,
    MissingLibrary,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestFacts, LiveState
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import GuestRef
from ansible_collections.kvm.hotplug.plugins.module_utils.run.inspection import Inspection
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Observation

from ..support.guests import guest, layout

if TYPE_CHECKING:
    from ansible.inventory.data import InventoryData

# Only controllers have all of ansible-core. Once it is imported, modules would take this process for a controller and
# print their warnings, in the tests of others too.
CONTROLLERS_MARKS = ("is_controller", "get_controller_serialize_map", "import_controller_module")
yaml = pytest.importorskip("yaml")
pytest.importorskip("jinja2")
with pytest.MonkeyPatch.context() as unmarked:
    for mark in CONTROLLERS_MARKS:
        unmarked.setattr(_internal, mark, getattr(_internal, mark, None), raising=False)
    inventory = pytest.importorskip("ansible_collections.kvm.hotplug.plugins.inventory.guests")
    hosts = pytest.importorskip("ansible_collections.kvm.hotplug.plugins.plugin_utils.inventory_hosts")
    inspection = pytest.importorskip("ansible_collections.kvm.hotplug.plugins.module_utils.entry.inventory")
    constants = pytest.importorskip("ansible.constants")
    data = pytest.importorskip("ansible.inventory.data")
    dataloader = pytest.importorskip("ansible.parsing.dataloader")
    errors = pytest.importorskip("ansible.errors")
    constructed = pytest.importorskip("ansible.plugins.doc_fragments.constructed")
    inventory_cache = pytest.importorskip("ansible.plugins.doc_fragments.inventory_cache")

NAME = "kvm.hotplug.guests"
KVM1 = "qemu+ssh://root@kvm1.example/system"
KVM2 = "qemu+ssh://admin@kvm2.example:2222/system?no_tty=1&keyfile=/keys/id"


def sight(name: str | None, live: set[int] | None = None, config: set[int] | None = None, **facts: Any) -> Inspection:
    """What is seen of a guest; it is shut off unless it has ``live`` vCPUs."""
    state = guest(layout(), live, config)
    state = state._replace(facts=GuestFacts(**{"name": name, "state": state.facts.state, "arch": "x86_64", **facts}))
    return Inspection(GuestRef(name=name), Observation(state))


class World:
    """The guests of each URI and pattern, instead of libvirt daemons and monitors."""

    def __init__(self) -> None:
        self.guests: dict[str, dict[str, Inspection]] = {}
        self.failing: dict[str, HotplugError] = {}
        self.looked: list[str] = []

    async def inspect_places(self, places: list[tuple[str, str]], _params: Mapping[str, Any]) -> Any:
        self.looked += [place for _kind, place in places]
        for _kind, place in places:
            if isinstance(self.failing.get(place), MissingLibrary):
                raise self.failing[place]
        sights = {(kind, place): self.guests[place] for kind, place in places if place not in self.failing}
        failures = {(kind, place): self.failing[place].msg for kind, place in places if place in self.failing}
        return sights, failures


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World()
    monkeypatch.setattr(inventory, "inspect_places", found.inspect_places)
    return found


Parse = Callable[..., "InventoryData"]


@pytest.fixture(autouse=True)
def _options_are_documented() -> None:
    """Tell Ansible of the plugin's options, as its loader does."""
    options: dict[str, Any] = yaml.safe_load(inventory.DOCUMENTATION)["options"]
    for fragment in (constructed, inventory_cache):
        options.update(yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"])
    constants.config.initialize_plugin_configuration_definitions("inventory", NAME, options)


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(
        "ansible.utils.display.Display.warning", lambda _self, msg, *_args, **_keywords: found.append(msg)
    )
    return found


@pytest.fixture
def parse(tmp_path: Path, warned: list[str]) -> Parse:
    """Parse a file of these options with a plugin as the loader makes them."""

    def parsed(into: InventoryData | None = None, fresh: bool = False, **options: Any) -> InventoryData:
        path = tmp_path / "guests.yml"
        path.write_text(yaml.safe_dump({"plugin": NAME, **options}), encoding="utf-8")
        plugin = inventory.InventoryModule()
        plugin._load_name = plugin.ansible_name = NAME
        plugin._redirected_names = [NAME]
        assert plugin.verify_file(str(path))
        found = into or data.InventoryData()
        plugin.parse(found, dataloader.DataLoader(), str(path), cache=not fresh)
        if options.get("cache"):
            plugin.update_cache_if_changed()
        found.reconcile_inventory()
        return found

    return parsed


def groups(found: InventoryData) -> dict[str, list[str]]:
    """All groups but those that every inventory has."""
    return {
        name: sorted(host.name for host in group.hosts)
        for name, group in found.groups.items()
        if name not in ("all", "ungrouped")
    }


def variables(parsed: InventoryData, host: str) -> dict[str, Any]:
    found: dict[str, Any] = parsed.hosts[host].get_vars()
    return found


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


class TestCache:
    @pytest.fixture
    def cached(self, tmp_path: Path) -> dict[str, Any]:
        return {"cache": True, "cache_plugin": "jsonfile", "cache_connection": str(tmp_path / "cache")}

    def test_cached_guests_are_not_inspected_again(self, world: World, parse: Parse, cached: dict[str, Any]) -> None:
        options = {**cached, "uris": [KVM1], "qmp_sockets": ["/run/*"]}
        world.guests = {KVM1: {"1": sight("web1", {0, 2}, {0})}, "/run/*": {"/run/a": sight("db", {0})}}
        first = parse(**options)
        again = parse(**options)
        assert world.looked == [KVM1, "/run/*"]
        assert groups(again) == groups(first)
        for host in ("web1", "db", "kvm1.example", "localhost"):
            assert variables(again, host) == variables(first, host)

    def test_a_refresh_inspects_again(self, world: World, parse: Parse, cached: dict[str, Any]) -> None:
        world.guests[KVM1] = {"1": sight("web1")}
        parse(**cached, uris=[KVM1])
        world.guests[KVM1] = {"1": sight("web2")}
        assert groups(parse(**cached, uris=[KVM1]))["guests"] == ["web1"]
        assert groups(parse(fresh=True, **cached, uris=[KVM1]))["guests"] == ["web2"]
        assert groups(parse(**cached, uris=[KVM1]))["guests"] == ["web2"]

    def test_only_new_uris_are_inspected(self, world: World, parse: Parse, cached: dict[str, Any]) -> None:
        world.guests = {KVM1: {"1": sight("web1")}, KVM2: {"2": sight("web2")}}
        parse(**cached, uris=[KVM1])
        assert groups(parse(**cached, uris=[KVM1, KVM2]))["guests"] == ["web1", "web2"]
        assert groups(parse(**cached, uris=[KVM2]))["guests"] == ["web2"]
        assert world.looked == [KVM1, KVM2]

    def test_unreachable_uris_are_inspected_again(self, world: World, parse: Parse, cached: dict[str, Any]) -> None:
        world.guests = {KVM1: {"1": sight("web1")}, KVM2: {"2": sight("web2")}}
        world.failing[KVM1] = HotplugError(MONITOR_UNREACHABLE, "down")
        assert groups(parse(**cached, uris=[KVM1, KVM2]))["guests"] == ["web2"]
        world.failing.clear()
        assert groups(parse(**cached, uris=[KVM1, KVM2]))["guests"] == ["web1", "web2"]
        assert world.looked == [KVM1, KVM2, KVM1]

    def test_failed_guests_are_inspected_again(self, world: World, parse: Parse, cached: dict[str, Any]) -> None:
        world.guests[KVM1] = {
            "1": sight("web1"),
            "2": Inspection(GuestRef(KVM1, "2"), error=HotplugError(GUEST_NOT_FOUND, "gone")),
        }
        parse(**cached, uris=[KVM1])
        world.guests[KVM1] = {"1": sight("web1"), "2": sight("web2")}
        assert groups(parse(**cached, uris=[KVM1]))["guests"] == ["web1", "web2"]


def test_each_uri_and_pattern_is_inspected_separately(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    async def names_at(params: Mapping[str, Any], _kept: object) -> dict[str, str]:
        asked.append((params["uri"], params["probe"]))
        if params["uri"] == KVM2:
            raise HotplugError(MONITOR_UNREACHABLE, "down")
        return {"u1": "web1"}

    async def inspect_all(sources: Mapping[str, Any], _concurrency: int) -> list[Inspection]:
        return [Inspection(ref) for ref in sources]

    monkeypatch.setattr(discover, "_names_at", names_at)
    monkeypatch.setattr(inspection, "inspect_all", inspect_all)
    (tmp_path / "a.sock").touch()
    sockets = [str(tmp_path / "*.sock"), str(tmp_path / "a*"), str(tmp_path / "none")]
    places = [("uris", uri) for uri in ("qemu:///system", KVM1, KVM2)] + [("qmp_sockets", one) for one in sockets]
    params = {
        **{option: spec.get("default") for option, spec in inventory.GUEST_OPTIONS.items()},
        "qmp_sockets": None,
        "max_concurrency": 16,
        "timeout": 15.0,
    }
    sights, failures = asyncio.run(inspection.inspect_places(places, params))
    assert asked == [("qemu:///system", "auto"), (KVM1, "never"), (KVM2, "never")]
    assert set(failures) == {("uris", KVM2), ("qmp_sockets", sockets[2])}
    assert {place: {named: one.ref.described for named, one in here.items()} for place, here in sights.items()} == {
        ("uris", "qemu:///system"): {"u1": "guest web1 of qemu:///system"},
        ("uris", KVM1): {"u1": f"guest web1 of {KVM1}"},
        ("qmp_sockets", sockets[0]): {str(tmp_path / "a.sock"): str(tmp_path / "a.sock")},
        ("qmp_sockets", sockets[1]): {str(tmp_path / "a.sock"): str(tmp_path / "a.sock")},
    }
