# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures: the inventory plugin on made-up guests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ansible.inventory.data import InventoryData

    from ..support.inventories import Parse, World

# ..support.inventories skips the tests that import it where it cannot be used, so it is imported by fixtures only.


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Replace libvirt daemons and monitors by made-up guests."""
    from ..support.inventories import World, inventory

    found = World()
    monkeypatch.setattr(inventory, "inspect_places", found.inspect_places)
    return found


@pytest.fixture
def documented_options() -> None:
    """Register the plugin's options with Ansible, as its loader does."""
    from ..support.inventories import NAME, constants, constructed, inventory, inventory_cache, yaml

    options: dict[str, Any] = yaml.safe_load(inventory.DOCUMENTATION)["options"]
    for fragment in (constructed, inventory_cache):
        options.update(yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"])
    constants.config.initialize_plugin_configuration_definitions("inventory", NAME, options)


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the warnings that Ansible prints."""
    found: list[str] = []
    monkeypatch.setattr(
        "ansible.utils.display.Display.warning", lambda _self, msg, *_args, **_keywords: found.append(msg)
    )
    return found


@pytest.fixture
def parse(tmp_path: Path, warned: list[str], documented_options: None) -> Parse:
    """Parse a file of these options with a plugin as the loader makes them."""
    from ..support.inventories import NAME, data, dataloader, inventory, yaml

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
