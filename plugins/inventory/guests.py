# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin: the guests of libvirt daemons and QMP sockets, and their hypervisors, as hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: guests
short_description: QEMU/KVM guests as hosts, with the state of their vCPUs
version_added: 1.0.0
author:
  - the kvm.hotplug authors (@kvm-hotplug)
description:
  - Finds the guests of the given libvirt daemons, local and remote, and of the given QMP sockets, and makes each guest
    a host. Their hypervisors become hosts too, so that tasks can be delegated to them.
  - The configuration file must be named C(guests.yml) or C(kvm_hotplug.yml), or end in C(.guests.yml) or
    C(.kvm_hotplug.yml); the extension C(.yaml) is accepted too.
  - The plugin only reads. Its connections to libvirt are read-only.
  - All guests are in the group C(guests), and in C(hypervisor_NAME) and C(state_STATE), such as C(state_running),
    C(state_paused) and C(state_shutoff). The group C(drifted) has the guests whose live and config state differ, or
    whose vCPUs differ between libvirt's record and QEMU; C(sparse) has those whose enabled vCPUs are not 0 to n-1, in
    the live or the config state. The hypervisors are in the group C(hypervisors), and in none of these.
  - A guest has the variables C(kvm_hotplug), all that M(kvm.hotplug.vcpu_info) returns of one guest (C(guest),
    C(vcpus), C(nodes), C(drift) and so on); C(kvm_hotplug_hypervisor), the host to delegate to;
    C(kvm_hotplug_options), the options that name the guest on its hypervisor, either C(name) and C(uri) or
    C(qmp_socket); and C(kvm_hotplug_controller_options), the options that name it on the controller.
  - A hypervisor has the variable C(kvm_hotplug_guests), the names of its guests in the inventory, and the variables
    that Ansible needs to connect to it, unless another inventory source has defined the host already. For the
    controller these are C(ansible_connection=local) and the Python that runs Ansible; for the host of a remote URI
    C(ansible_host), and, if the transport is SSH, its user, port and key file.
  - The variables C(kvm_hotplug_desired) of a guest and C(kvm_hotplug_desired_guests) and C(kvm_hotplug_defaults) of a
    hypervisor are set by the user. The playbooks C(kvm.hotplug.rollout) and C(kvm.hotplug.audit) read them.
options:
  plugin:
    description:
      - The name of this plugin.
    type: str
    required: true
    choices: [kvm.hotplug.guests]
  uris:
    description:
      - The libvirt daemons to query, such as V(qemu:///system) and V(qemu+ssh://root@kvm1.example.com/system).
      - Each entry is a URI, or a dictionary of C(uri) and C(hypervisor), the name of its host in the inventory. Without
        C(hypervisor), the host of a remote URI is named as in the URI, and the controller C(localhost).
      - C(kvm_hotplug_options) names a guest of a remote URI by the same URI without transport, host and parameters.
        Only the parameter C(socket) of an SSH URI is kept.
      - SSH must not ask for a password. The URI parameter C(no_tty=1) makes it fail instead.
    type: list
    elements: raw
    default: []
  qmp_sockets:
    description:
      - The monitor sockets, on the controller, of QEMU guests that libvirt does not manage, as shell patterns such as
        V(/run/guests/*/qmp.sock).
    type: list
    elements: str
    default: []
  filters:
    description:
      - Which guests become hosts. Each entry is a dictionary of C(include) or C(exclude), and a condition in Jinja2.
      - The first entry whose condition is true decides about a guest. A guest that meets none is included, so a list
        of C(include) ends with C(exclude=true).
      - A condition has the variables C(kvm_hotplug), C(kvm_hotplug_hypervisor), C(kvm_hotplug_options) and
        C(kvm_hotplug_controller_options) of the guest. One that cannot be evaluated is always an error.
      - All guests are queried and cached before the filters are applied.
    type: list
    elements: dict
    default: []
  hostname:
    description:
      - How guests are named in the inventory.
      - Characters other than letters, digits and C(._+-) are replaced by C(_), as are a leading C(.), C(+) or C(-) and
        the dot of a trailing C(.yml), C(.yaml) or C(.json). A guest without a name is named by its socket.
      - No guest gets the name of another guest, of a hypervisor, of C(localhost), or of a group that exists in the
        inventory when this plugin runs. In such a case the hypervisor's name is prepended; if that is not enough, the
        UUID and a number are appended. A host with the guest's name that another inventory source defines is the same
        host.
    type: str
    choices:
      name: The guest's name.
      uuid: Its UUID, or its name if it has none.
      hypervisor_name: The names of the hypervisor and the guest, as in C(kvm1_web1).
    default: name
  unreachable:
    description:
      - What to do if a libvirt daemon or a guest cannot be queried. A missing Python library is always an error.
    type: str
    choices:
      warn: Continue without them, with a warning for each. They are queried again the next time, even with a cache.
      fail: Fail.
    default: warn
  max_concurrency:
    description:
      - How many guests to query at once, at most 256.
    type: int
    default: 16
  timeout:
    description:
      - How many seconds QEMU may take for one reply. libvirt has 45 seconds more.
    type: float
    default: 15.0
extends_documentation_fragment:
  - constructed
  - inventory_cache
requirements:
  - libvirt-python >= 9.0 and lxml on the controller, for O(uris)
  - qemu.qmp >= 0.0.6 on the controller, for O(qmp_sockets)
notes:
  - The inventory has no connection to the guests' own systems. Delegate tasks to C(kvm_hotplug_hypervisor), and set
    C(gather_facts=false).
  - The owner of a guest chooses its name. Ansible reads inventory sources in the order of C(--inventory), and the files
    of a folder in alphabetical order. Let it read this plugin's file after all that define groups, or set
    O(hostname=hypervisor_name), because a guest that is named like a group takes the group's place in C(hosts).
  - With a cache, C(--flush-cache) or C(meta=refresh_inventory) queries the guests again. The modules do not rely on the
    cache; they query the guest themselves.
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
# fleet.guests.yml: hypervisors over SSH, one of them with the name that it has elsewhere in the inventory
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
# web.guests.yml: only the running guests whose names begin with web, without those of one hypervisor
plugin: kvm.hotplug.guests
uris: [qemu+ssh://root@kvm1.example.com/system, qemu+ssh://root@kvm2.example.com/system]
filters:
  - exclude: kvm_hotplug_hypervisor == 'kvm2.example.com'
  - include: kvm_hotplug.guest.state == 'running' and kvm_hotplug.guest.name is match('web')
  - exclude: true

---
# A playbook that handles each guest separately
- name: Enable four vCPUs in every running guest
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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ansible import constants
from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.kvm.hotplug.plugins.module_utils.entry.inventory import Place, inspect_places
from ansible_collections.kvm.hotplug.plugins.module_utils.entry.module import error_text
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.report.info import info_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import (
    FLEET_OPTIONS,
    GUEST_OPTIONS,
    TIMEOUT_OPTION,
    parse_timeout,
)
from ansible_collections.kvm.hotplug.plugins.plugin_utils.inventory_filters import Filter, filters_of, is_included
from ansible_collections.kvm.hotplug.plugins.plugin_utils.inventory_hosts import (
    HYPERVISORS,
    SOCKETS,
    URIS,
    Guest,
    Seen,
    groups_of,
    guests_of,
    libvirts_of,
    names_of,
    strings,
    variables_of,
)

if TYPE_CHECKING:
    from ansible.parsing.dataloader import DataLoader

FILES = ("guests", "kvm_hotplug")

# How often guests are renamed because a composed group is named like one. Each time their names get longer.
_MOST_ROUNDS = 8

Variables = Mapping[str, Mapping[str, Any]]


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]  # ansible-core has no types
    """Ansible's entry point."""

    NAME = "kvm.hotplug.guests"
    inventory: InventoryData  # what parse is to fill

    def verify_file(self, path: str) -> bool:
        """Return whether a file is named like one of this plugin's."""
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
            raise AnsibleParserError("there are neither uris nor qmp_sockets: set at least one of them")
        variables = variables_of(libvirts, patterns)
        filters = filters_of(self.get_option("filters"))
        seen = self._seen(path, [libvirt.uri for libvirt in libvirts], patterns, cache)
        guests = [guest for guest in guests_of(seen, libvirts, patterns) if self._is_included(guest, filters)]
        self._fill(variables, guests, self._names(variables, guests))

    def _seen(self, path: str, uris: Sequence[str], patterns: Sequence[str], cache: bool) -> Seen:
        """Return the guests by place, from the cache as far as it has them."""
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
            found, complete = self._inspect(missing)
            if caching:
                self._cache[key] = {
                    kind: {**seen[kind], **{place: found[kind][place] for at, place in complete if at == kind}}
                    for kind in seen
                }
            for kind, places in found.items():
                seen[kind].update(places)
        return seen

    def _inspect(self, places: Sequence[Place]) -> tuple[Seen, list[Place]]:
        """Return the guests at these places, and those of the places where nothing failed."""
        try:
            inspections, failures = asyncio.run(inspect_places(places, self._params()))
        except HotplugError as error:
            raise AnsibleParserError(error_text(error)) from error
        problems = [*failures.values()]
        complete = []
        found: Seen = {URIS: {}, SOCKETS: {}}
        for (kind, place), here in inspections.items():
            failed = [f"{one.ref.described}: {one.error.msg}" for one in here.values() if one.error is not None]
            if not failed:
                complete.append((kind, place))
            problems += failed
            found[kind][place] = {named: info_report(one.seen) for named, one in here.items() if one.seen is not None}
            for one in here.values():
                for warning in one.warnings:
                    self.display.warning(f"{one.ref.described}: {warning}")
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

    def _is_included(self, guest: Guest, filters: Sequence[Filter]) -> bool:
        return is_included(filters, lambda condition: self._compose(condition, guest.variables))

    def _names(self, variables: Variables, guests: Sequence[Guest]) -> list[str]:
        """Return a name for each guest that is neither a hypervisor's nor a group's.

        Ansible takes a host before a group of the same name, so a guest with a group's name would replace its hosts.
        The groups that ``keyed_groups`` composes may depend on the guests' names.
        """
        hypervisors = self.inventory.groups.get(HYPERVISORS)
        taken = {*variables, *constants.LOCALHOST, *self.inventory.groups, HYPERVISORS}
        taken |= {host.name for host in hypervisors.get_hosts()} if hypervisors else set()
        taken |= {group for guest in guests for group in self._groups(guest)}
        taken |= {self._sanitize_group_name(group) for group in self.get_option("groups")}
        for _round in range(_MOST_ROUNDS):
            names = names_of(guests, self.get_option("hostname"), taken)
            groups = self._composed_groups(variables, guests, names)
            if not groups.intersection(names):
                return names
            taken |= groups
        raise AnsibleParserError("keyed_groups makes groups that are named like guests: set a prefix")

    def _composed_groups(self, variables: Variables, guests: Sequence[Guest], names: Sequence[str]) -> set[str]:
        """Return all groups that the inventory would have with these names, as far as the names matter."""
        if not self.get_option("keyed_groups"):
            return set()
        inventory = self.inventory
        self.inventory = _copied(inventory, names)
        try:
            self._fill(variables, guests, names)
            return set(self.inventory.groups)
        finally:
            self.inventory = inventory

    def _fill(self, variables: Variables, guests: Sequence[Guest], names: Sequence[str]) -> None:
        self._add_hypervisors(variables, guests, names)
        for name, guest in zip(names, guests):
            self._add_guest(name, guest)

    def _groups(self, guest: Guest) -> list[str]:
        return [self._sanitize_group_name(group) for group in groups_of(guest)]

    def _add_hypervisors(self, variables: Variables, guests: Sequence[Guest], names: Sequence[str]) -> None:
        self.inventory.add_group(HYPERVISORS)
        for name, leading in variables.items():
            known = name in self.inventory.hosts
            self.inventory.add_host(name, group=HYPERVISORS)
            for variable, value in {} if known else leading.items():
                self.inventory.set_variable(name, variable, value)
            own = [named for named, guest in zip(names, guests) if guest.hypervisor == name]
            self.inventory.set_variable(name, "kvm_hotplug_guests", own)

    def _add_guest(self, name: str, guest: Guest) -> None:
        self.inventory.add_host(name)
        for group in self._groups(guest):
            self.inventory.add_host(name, group=self.inventory.add_group(group))
        for variable, value in guest.variables.items():
            self.inventory.set_variable(name, variable, value)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), self._variables(name), name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), self._variables(name), name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), self._variables(name), name, strict=strict)

    def _variables(self, name: str) -> dict[str, Any]:
        variables: dict[str, Any] = self.inventory.hosts[name].get_vars()
        return variables


def _copied(inventory: InventoryData, names: Iterable[str]) -> InventoryData:
    """Return another inventory with the same groups, and with those of these hosts that there are."""
    copied = InventoryData()
    for group in inventory.groups:
        copied.add_group(group)
    for name in inventory.hosts.keys() & set(names):
        copied.add_host(name)
        for group in inventory.hosts[name].get_groups():
            copied.add_host(name, group=group.name)
        for variable, value in inventory.hosts[name].vars.items():
            copied.set_variable(name, variable, value)
    return copied
