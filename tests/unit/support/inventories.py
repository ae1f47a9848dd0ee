# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an inventory of the plugin guests is made of: made-up guests, and Ansible's own parts, where they are installed.

Importing it skips the tests of a module where ansible-core is not that of a controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

import pytest
from ansible.module_utils import _internal

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, MissingLibrary
from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestFacts
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import GuestRef
from ansible_collections.kvm.hotplug.plugins.module_utils.run.inspection import Inspection
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Observation

from .guests import guest, layout

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


Parse = Callable[..., "InventoryData"]


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


def groups(found: InventoryData) -> dict[str, list[str]]:
    """All groups but those that every inventory has."""
    return {
        name: sorted(host.name for host in group.hosts)
        for name, group in found.groups.items()
        if name not in ("all", "ungrouped")
    }


def variables(parsed: InventoryData, host: str) -> dict[str, Any]:
    """Return the variables of a host."""
    found: dict[str, Any] = parsed.hosts[host].get_vars()
    return found
