# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests and their hypervisors as hosts of an inventory: their names, groups and connection variables."""

from __future__ import annotations

import itertools
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from ansible import constants
from ansible.errors import AnsibleParserError

CONTROLLER = "localhost"
HYPERVISORS = "hypervisors"
URIS = "uris"
SOCKETS = "qmp_sockets"

# Transports that run over SSH: the URI's user, port and key are those of SSH.
_SSH = ("ssh", "libssh", "libssh2")
# Such characters mean something in a pattern of hosts or a path.
_UNSAFE_IN_A_NAME = re.compile(r"[^\w.+-]|^[.+-]")

_TEMPLATE = re.compile(r"[{}]")

# The reports as the cache keeps them: for each URI or pattern, the report of each guest by what names it there.
Seen = dict[str, dict[str, dict[str, dict[str, Any]]]]


@dataclass(frozen=True)
class Libvirt:
    """A libvirt daemon: its URI on the controller and on its own host, and that host with its connection variables."""

    uri: str
    uri_on_hypervisor: str
    hypervisor: str
    variables: Mapping[str, Any]


@dataclass(frozen=True)
class Guest:
    """A guest: its hypervisor, the options that name it on the controller and on the hypervisor, and its report."""

    hypervisor: str
    controller_options: Mapping[str, str]
    options: Mapping[str, str]
    report: Mapping[str, Any]

    @property
    def uuid(self) -> str | None:
        uuid: str | None = self.report["guest"]["uuid"]
        return uuid

    @property
    def variables(self) -> dict[str, Any]:
        """Its variables in the inventory."""
        variables = {
            "kvm_hotplug": self.report,
            "kvm_hotplug_hypervisor": self.hypervisor,
            "kvm_hotplug_options": self.options,
            "kvm_hotplug_controller_options": self.controller_options,
        }
        return {name: mark_unsafe(value) for name, value in variables.items()}

    def name_by(self, choice: str) -> str:
        """Return its name in the inventory, regardless of other guests."""
        name = (
            self.report["guest"]["name"]
            or self.uuid
            or "_".join(PurePath(self.controller_options["qmp_socket"]).parts[1:])
        )
        return in_inventory(self.uuid or name if choice == "uuid" else name)


def libvirts_of(entries: Any) -> list[Libvirt]:
    """Return the libvirt daemons that the option ``uris`` names; raises ``AnsibleParserError``."""
    if not isinstance(entries, list):
        raise AnsibleParserError(f"uris is {entries!r}: give a list")
    found: dict[str, Libvirt] = {}
    for entry in entries:
        libvirt = _libvirt(entry)
        if libvirt.uri in found:
            raise AnsibleParserError(f"uris names {libvirt.uri} twice: name each once")
        found[libvirt.uri] = libvirt
    return list(found.values())


def strings(values: Any, option: str) -> list[str]:
    """Return a list of strings without repetitions; raises ``AnsibleParserError`` for anything else."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise AnsibleParserError(f"{option} is {values!r}: give a list of strings")
    return list(dict.fromkeys(values))


def variables_of(libvirts: Iterable[Libvirt], patterns: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return each hypervisor's name and the variables to connect to it; raises ``AnsibleParserError``."""
    found: dict[str, Mapping[str, Any]] = {}
    here = [(CONTROLLER, local_variables())] if patterns else []
    for name, variables in [*((libvirt.hypervisor, libvirt.variables) for libvirt in libvirts), *here]:
        if found.setdefault(name, variables) != variables:
            raise AnsibleParserError(
                f"uris: hosts that are connected to in different ways are both named {name}: give each uri a "
                "hypervisor of its own"
            )
    return found


def guests_of(seen: Seen, libvirts: Iterable[Libvirt], patterns: Iterable[str]) -> list[Guest]:
    """Return the guests at uris and patterns, each once, in order."""
    found = []
    for libvirt in libvirts:
        for report in seen[URIS].get(libvirt.uri, {}).values():
            name = report["guest"]["name"]
            source, options = ({"name": name, "uri": uri} for uri in (libvirt.uri, libvirt.uri_on_hypervisor))
            found.append(Guest(libvirt.hypervisor, source, options, report))
    at_sockets: dict[str, dict[str, Any]] = {}
    for pattern in patterns:
        at_sockets.update(seen[SOCKETS].get(pattern, {}))
    for socket, report in at_sockets.items():
        options = {"qmp_socket": socket}
        found.append(Guest(CONTROLLER, options, options, report))
    return found


def names_of(guests: Sequence[Guest], choice: str, reserved: Collection[str]) -> list[str]:
    """Return for each guest the shortest of its names that no other guest has and that is not ``reserved``."""
    ways = [_names(number, guest, choice) for number, guest in enumerate(guests)]
    names = [next(way) for way in ways]
    while True:
        counts = Counter([*names, *set(reserved)])
        ambiguous = [number for number, name in enumerate(names) if counts[name] > 1]
        if not ambiguous:
            return names
        for number in ambiguous:
            names[number] = next(ways[number])


def groups_of(guest: Guest) -> list[str]:
    """Return the groups of a guest, before the options compose more."""
    report = guest.report
    return [
        "guests",
        f"hypervisor_{guest.hypervisor}",
        f"state_{report['guest']['state']}",
        *(["drifted"] if any(report["drift"].values()) else []),
        *(["sparse"] if any(report["sparse"].values()) else []),
    ]


def local_variables() -> dict[str, Any]:
    """Return the variables to connect to the controller; the Python that runs Ansible has the libraries."""
    return {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


def in_inventory(name: str) -> str:
    """Return a name that is no pattern of hosts, and whose ``host_vars`` are neither another folder nor another host's.

    Ansible reads the variables of a host from ``host_vars/NAME``, ``host_vars/NAME.yml`` and so on.
    """
    safe = _UNSAFE_IN_A_NAME.sub("_", name)
    stem, dot, extension = safe.rpartition(".")
    return f"{stem}_{extension}" if f"{dot}{extension}" in constants.YAML_FILENAME_EXTENSIONS else safe


def mark_unsafe(value: Any) -> Any:
    """Return a guest's own text so that ansible-core before 2.19 does not take it for a template."""
    if isinstance(value, Mapping):
        return {key: mark_unsafe(one) for key, one in value.items()}
    if isinstance(value, list):
        return [mark_unsafe(one) for one in value]
    if not isinstance(value, str) or not _TEMPLATE.search(value):
        return value
    from ansible.utils.unsafe_proxy import wrap_var

    return wrap_var(value)


def _names(number: int, guest: Guest, choice: str) -> Iterator[str]:
    """Yield the names that a guest may have, from the shortest, without end."""
    name = guest.name_by(choice)
    if choice != "hypervisor_name":
        yield name
    name = f"{guest.hypervisor}_{name}"
    yield name
    if guest.uuid:
        name = f"{name}_{in_inventory(guest.uuid)}"
        yield name
    for length in itertools.count(1):
        yield "_".join([name, *[str(number)] * length])


def _libvirt(entry: Any) -> Libvirt:
    given = {"uri": entry} if isinstance(entry, str) else entry
    if not isinstance(given, Mapping) or not all(isinstance(value, str) and value for value in given.values()):
        raise AnsibleParserError(f"uris has {entry!r}: give a uri, or a dictionary of uri and hypervisor")
    if "uri" not in given or not set(given) <= {"uri", "hypervisor"}:
        raise AnsibleParserError(f"uris has {dict(given)!r}: uri is required, hypervisor may go with it, nothing else")
    uri = given["uri"]
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AnsibleParserError(f"uris has {uri!r}, which is no uri: {error}") from error
    if not parts.scheme or "://" not in uri:
        raise AnsibleParserError(f"uris has {uri!r}, which is no uri of a libvirt: write one such as qemu:///system")
    if not host:
        return Libvirt(uri, uri, given.get("hypervisor", CONTROLLER), local_variables())
    driver, _plus, transport = parts.scheme.partition("+")
    parameters = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    variables: dict[str, Any] = {"ansible_host": host}
    query = ""
    if transport in _SSH:
        user = unquote(parts.username) if parts.username else None
        ways = {
            "ansible_user": user,
            "ansible_port": port,
            "ansible_ssh_private_key_file": parameters.get("keyfile"),
        }
        variables.update({name: value for name, value in ways.items() if value is not None})
        if "socket" in parameters:
            query = "?" + urlencode({"socket": parameters["socket"]}, safe="/")
    return Libvirt(uri, f"{driver}://{parts.path}{query}", given.get("hypervisor", in_inventory(host)), variables)
