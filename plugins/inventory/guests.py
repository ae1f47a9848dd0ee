# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of guests: what libvirts and folders of sockets have, as hosts, and their hypervisors beside them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: guests
short_description: Guests of QEMU/KVM as hosts, with the state of their vCPUs
version_added: 0.1.0
author:
  - the kvm.hotplug authors (@kvm-hotplug)
description:
  - Looks at all guests of libvirts, near and far, and at those that have a monitor in a folder, and makes each a host.
    The hypervisors they run on become hosts too, so that tasks can be delegated to them.
  - The file that configures it is named C(guests.yml) or C(kvm_hotplug.yml), or ends in C(.guests.yml) or
    C(.kvm_hotplug.yml); C(.yaml) will do as well.
  - It only looks. Connections to libvirt are read-only.
  - All guests are in the group C(guests), and in C(hypervisor_NAME) and C(state_STATE), such as C(state_running),
    C(state_paused) and C(state_shutoff). In C(drifted) are those whose live and config state differ, or of which
    libvirt's record and QEMU do; in C(sparse) those whose enabled vCPUs are not 0 to n-1, live or in config. The
    hypervisors are in the group C(hypervisors), and in none of these.
  - A guest has the variables C(kvm_hotplug), all that M(kvm.hotplug.vcpu_info) returns of one guest (C(guest),
    C(vcpus), C(nodes), C(drift) and so on); C(kvm_hotplug_hypervisor), the host to delegate to;
    C(kvm_hotplug_options), the options that name the guest there, either C(name) and C(uri) or C(qmp_socket); and
    C(kvm_hotplug_controller_options), the same options as they are valid on the controller.
  - A hypervisor has C(kvm_hotplug_guests), the names of its guests in the inventory, and unless another source of the
    inventory has the host already, how to connect to it. The controller has C(ansible_connection=local) and the
    Python that the inventory was made with. The host of a remote uri has C(ansible_host), and where the uri is one of
    SSH, its user, port and key file.
options:
  plugin:
    description:
      - The name of this plugin.
    type: str
    required: true
    choices: [kvm.hotplug.guests]
  uris:
    description:
      - The libvirts to look at, such as V(qemu:///system) and V(qemu+ssh://root@kvm1.example.com/system).
      - Each is a uri, or a dictionary of C(uri) and C(hypervisor), the name that its host has, or shall have, in the
        inventory. Without, a remote host is named as in the uri, and the controller C(localhost).
      - On its own host, the libvirt of a remote uri is taken to be found by the same uri without the transport, the
        host and all parameters, but for the parameter C(socket) of a uri of SSH.
      - Connections over SSH must not ask for a password. The parameter C(no_tty=1) keeps them from doing so.
    type: list
    elements: raw
    default: []
  qmp_sockets:
    description:
      - The monitors of guests that libvirt does not run, on the controller, as shell patterns such as
        V(/run/guests/*/qmp.sock).
    type: list
    elements: str
    default: []
  hostname:
    description:
      - What guests are named by in the inventory.
      - Other characters than letters, digits and C(._+-) become C(_). A guest without a name is named by its socket.
      - Where that makes two hosts of the same name, a guest's and a hypervisor's among them, the guests of this name
        get the hypervisor's before it; and where that is not enough, their UUID and a number after it.
    type: str
    choices:
      name: The guest's name.
      uuid: Its UUID, or its name if it has none.
      hypervisor_name: The hypervisor's name and the guest's, as in C(kvm1_web1), which never depends on other guests.
    default: name
  unreachable:
    description:
      - What to do about libvirts and guests that cannot be looked at. A library that is missing is an error anyway.
    type: str
    choices:
      warn: Go on without them, with a warning for each. They are looked at again the next time, whatever the cache has.
      fail: Make no inventory.
    default: warn
  max_concurrency:
    description:
      - How many guests to look at at once, at most 256.
    type: int
    default: 16
  timeout:
    description:
      - How many seconds a QEMU may take over one answer. A libvirt has 45 more.
    type: float
    default: 15.0
extends_documentation_fragment:
  - constructed
  - inventory_cache
requirements:
  - libvirt-python >= 9.0 and lxml on the controller, for O(uris)
  - qemu.qmp >= 0.0.6 on the controller, for O(qmp_sockets)
notes:
  - Nothing connects to the guests themselves. Delegate what concerns them, and set C(gather_facts=false).
  - The cache keeps what was seen, and C(--flush-cache) or C(meta=refresh_inventory) looks again. The modules rely on
    none of it, for they look for themselves.
seealso:
  - module: kvm.hotplug.vcpu
  - module: kvm.hotplug.vcpu_batch
  - module: kvm.hotplug.vcpu_info
"""

EXAMPLES = r"""
# guests.yml: the guests of this machine
plugin: kvm.hotplug.guests
uris: [qemu:///system]

---
# fleet.guests.yml: hypervisors over SSH, one of them named as elsewhere in the inventory
plugin: kvm.hotplug.guests
uris:
  - qemu+ssh://root@kvm1.example.com/system
  - uri: qemu+ssh://root@192.0.2.7/system?no_tty=1
    hypervisor: kvm2
qmp_sockets: [/run/guests/*/qmp.sock]
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/kvm_hotplug
keyed_groups:
  - key: kvm_hotplug.guest.arch
    prefix: arch
groups:
  numa: kvm_hotplug.nodes | length > 1
compose:
  enabled_vcpus: kvm_hotplug.vcpus | selectattr('live', 'eq', 'enabled') | length

---
# A playbook: each guest by itself
- name: Four vCPUs for every running guest
  hosts: state_running
  gather_facts: false
  module_defaults:
    group/kvm.hotplug.vcpu: "{{ kvm_hotplug_options }}"
  tasks:
    - name: Enable them
      kvm.hotplug.vcpu:
        count: 4
      delegate_to: "{{ kvm_hotplug_hypervisor }}"

---
# Another: all guests of a hypervisor in one task
- name: Four vCPUs for every guest
  hosts: hypervisors
  gather_facts: false
  tasks:
    - name: Enable them
      kvm.hotplug.vcpu_batch:
        guests: "{{ kvm_hotplug_guests | map('extract', hostvars, 'kvm_hotplug_options') }}"
        defaults:
          count: 4
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ansible.errors import AnsibleParserError
from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import Connections, connections, source_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.discover import guests_named
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, MissingLibrary
from ansible_collections.kvm.hotplug.plugins.module_utils.report.guest import info_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request.batch import check_concurrency
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import (
    FLEET_OPTIONS,
    GUEST_OPTIONS,
    TIMEOUT_OPTION,
    parse_timeout,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.run.inspection import Inspection, inspect_all
from ansible_collections.kvm.hotplug.plugins.plugin_utils.inventory_hosts import (
    SOCKETS,
    URIS,
    Guest,
    Seen,
    groups_of,
    guests_of,
    libvirts_of,
    names_of,
    variables_of,
)

if TYPE_CHECKING:
    from ansible.inventory.data import InventoryData
    from ansible.parsing.dataloader import DataLoader

FILES = ("guests", "kvm_hotplug")
_TEMPLATE = re.compile(r"[{}]")


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]  # ansible-core has no types
    """Ansible's entry point."""

    NAME = "kvm.hotplug.guests"

    def verify_file(self, path: str) -> bool:
        """Tell whether a file is named like one of ours."""
        named = PurePath(path)
        ours = named.suffix in (".yml", ".yaml") and named.stem.rpartition(".")[2] in FILES
        return ours and bool(super().verify_file(path))

    def parse(self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True) -> None:
        """Fill the inventory; raises ``AnsibleParserError``."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        libvirts = libvirts_of(self.get_option("uris"))
        patterns = strings(self.get_option("qmp_sockets"), "qmp_sockets")
        if not libvirts and not patterns:
            raise AnsibleParserError("neither uris nor qmp_sockets say where guests are: name some")
        variables = variables_of(libvirts, patterns)
        seen = self._seen(path, [libvirt.uri for libvirt in libvirts], patterns, cache)
        guests = guests_of(seen, libvirts, patterns)
        names = names_of(guests, self.get_option("hostname"), variables)
        self._add_hypervisors(variables, guests, names)
        for name, guest in zip(names, guests):
            self._add_guest(name, guest)

    def _seen(self, path: str, uris: Sequence[str], patterns: Sequence[str], cache: bool) -> Seen:
        """Return what the cache has, and the rest from looking."""
        caching = self.get_option("cache")
        key = self.get_cache_key(path)
        kept: Any = {}
        if caching and cache:
            try:
                kept = self._cache[key]
            except KeyError:
                kept = {}
        seen: Seen = {
            kind: {place: kept[kind][place] for place in places if place in kept.get(kind, {})}
            for kind, places in ((URIS, uris), (SOCKETS, patterns))
        }
        missing = [
            (kind, place)
            for kind, places in ((URIS, uris), (SOCKETS, patterns))
            for place in places
            if place not in seen[kind]
        ]
        if missing:
            found, complete = self._look(missing)
            if caching:
                self._cache[key] = {
                    kind: {**seen[kind], **{place: found[kind][place] for at, place in complete if at == kind}}
                    for kind in seen
                }
            for kind, places in found.items():
                seen[kind].update(places)
        return seen

    def _look(self, places: Sequence[tuple[str, str]]) -> tuple[Seen, list[tuple[str, str]]]:
        """Return what is at these uris and patterns, and those of them where nothing failed."""
        try:
            sights, failures = asyncio.run(look_at(places, self._params()))
        except HotplugError as error:
            raise AnsibleParserError(said(error)) from error
        problems = [*failures.values()]
        complete = []
        found: Seen = {URIS: {}, SOCKETS: {}}
        for (kind, place), here in sights.items():
            failed = [sight for sight in here.values() if sight.error is not None]
            if not failed:
                complete.append((kind, place))
            problems += [f"{sight.label}: {sight.error.msg}" for sight in failed if sight.error is not None]
            found[kind][place] = {
                named: info_report(sight.seen) for named, sight in here.items() if sight.seen is not None
            }
            for sight in here.values():
                for warning in sight.warnings:
                    self.display.warning(f"{sight.label}: {warning}")
        if problems and self.get_option("unreachable") == "fail":
            raise AnsibleParserError("; ".join(dict.fromkeys(problems)))
        for problem in dict.fromkeys(problems):
            self.display.warning(problem)
        return found, complete

    def _params(self) -> dict[str, Any]:
        """The options that all guests share, complete; raises ``HotplugError``."""
        given = {option: self.get_option(option) for option in ("timeout", "max_concurrency")}
        params: dict[str, Any] = (
            ArgumentSpecValidator({**GUEST_OPTIONS, **FLEET_OPTIONS, **TIMEOUT_OPTION})
            .validate(given)
            .validated_parameters
        )
        parse_timeout(params)
        return params

    def _add_hypervisors(
        self, variables: Mapping[str, Mapping[str, Any]], guests: Sequence[Guest], names: Sequence[str]
    ) -> None:
        self.inventory.add_group("hypervisors")
        for name, leading in variables.items():
            known = name in self.inventory.hosts
            self.inventory.add_host(name, group="hypervisors")
            for variable, value in {} if known else leading.items():
                self.inventory.set_variable(name, variable, value)
            own = [named for named, guest in zip(names, guests) if guest.hypervisor == name]
            self.inventory.set_variable(name, "kvm_hotplug_guests", own)

    def _add_guest(self, name: str, guest: Guest) -> None:
        self.inventory.add_host(name)
        for group in groups_of(guest):
            self.inventory.add_host(name, group=self.inventory.add_group(self._sanitize_group_name(group)))
        variables = {
            "kvm_hotplug": guest.report,
            "kvm_hotplug_hypervisor": guest.hypervisor,
            "kvm_hotplug_options": guest.options,
            "kvm_hotplug_controller_options": guest.source,
        }
        for variable, value in variables.items():
            self.inventory.set_variable(name, variable, mark_unsafe(value))
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), self._variables(name), name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), self._variables(name), name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), self._variables(name), name, strict=strict)

    def _variables(self, name: str) -> dict[str, Any]:
        variables: dict[str, Any] = self.inventory.hosts[name].get_vars()
        return variables


async def look_at(
    places: Sequence[tuple[str, str]], params: Mapping[str, Any]
) -> tuple[dict[tuple[str, str], dict[str, Inspection]], dict[tuple[str, str], str]]:
    """Look at all guests of uris and patterns; return the sights, and why the guests of other places are not known.

    Raises ``HotplugError``: ``MissingLibrary``, or for options that do not go together.
    """
    concurrency = check_concurrency(params["max_concurrency"])
    failures: dict[tuple[str, str], str] = {}

    async def listed(kind: str, place: str, kept: Connections) -> list[dict[str, Any]]:
        try:
            return await guests_named({**params, **_options_at(kind, place)}, kept)
        except MissingLibrary:
            raise
        except HotplugError as error:
            failures[kind, place] = error.msg
            return []

    async with connections() as kept:
        named = await asyncio.gather(*(listed(kind, place, kept) for kind, place in places))
        # What several patterns name is looked at once: a monitor serves one client at a time.
        sources = {_label(one): source_of(one, kept) for options in named for one in options}
        by_label = {sight.label: sight for sight in await inspect_all(sources, concurrency)}
    for sight in by_label.values():
        if isinstance(sight.error, MissingLibrary):
            raise sight.error
    sights = {
        place: {one["name"] or one["qmp_socket"]: by_label[_label(one)] for one in options}
        for place, options in zip(places, named)
        if place not in failures
    }
    return sights, failures


def strings(values: Any, option: str) -> list[str]:
    """Return a list of strings without repetitions; raises ``AnsibleParserError`` for anything else."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise AnsibleParserError(f"{option} is {values!r}: give a list of strings")
    return list(dict.fromkeys(values))


def mark_unsafe(value: Any) -> Any:
    """Return what a stranger said so that it is never taken for a template, as ansible-core before 2.19 would."""
    if isinstance(value, Mapping):
        return {key: mark_unsafe(one) for key, one in value.items()}
    if isinstance(value, list):
        return [mark_unsafe(one) for one in value]
    if not isinstance(value, str) or not _TEMPLATE.search(value):
        return value
    from ansible.utils.unsafe_proxy import wrap_var

    return wrap_var(value)


def said(error: HotplugError) -> str:
    """Return the words of an error, for the controller's user."""
    if isinstance(error, MissingLibrary):
        return str(missing_required_lib(error.library, url=error.url))
    return error.msg


def _options_at(kind: str, place: str) -> dict[str, Any]:
    """The options that name all guests of a uri or a pattern."""
    if kind == SOCKETS:
        return {"qmp_sockets": [place]}
    # A far host's QEMU cannot be asked here.
    return {"uri": place, "probe": "never" if urlsplit(place).hostname else "auto"}


def _label(params: Mapping[str, Any]) -> str:
    """What a guest is called in warnings."""
    return str(params["qmp_socket"]) if params["name"] is None else f"guest {params['name']} of {params['uri']}"
