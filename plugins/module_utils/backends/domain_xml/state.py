# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's XML as the planner sees it: which vCPUs the next boot has, and which of them must stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.transition import leading
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.validation import check_config
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, NOT_HOTPLUGGABLE, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Blocker, ConfigState, GuestFacts, Layout

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import ConfigLayout
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain

BOOT_VCPU = Blocker(NOT_HOTPLUGGABLE, "a guest boots on vCPU 0", "leave it enabled")


def config_state(domain: Domain, layout: Layout) -> ConfigState:
    """Return the config state; ``layout`` is that of the machine, live or foretold."""
    return ConfigState(
        enabled=domain.enabled,
        cannot_disable={0: BOOT_VCPU} if layout.entities else {},
        hotpluggable=domain.hotpluggable,
        order=domain.order,
        pins=domain.pins,
        schedulers=domain.schedulers,
    )


def facts_of(domain: Domain) -> GuestFacts:
    """Return who the guest is, that is shut off."""
    return GuestFacts(name=domain.name, uuid=domain.uuid, state="shutoff", arch=domain.arch, machine=domain.machine)


def check_reached(
    domain: Domain, layout: Layout, enabled: frozenset[int], config_layout: ConfigLayout | None, force: bool
) -> None:
    """Refuse a config state that libvirt or QEMU would refuse only at the next boot.

    ``force`` allows vCPUs on nodes without memory. Raises ``HotplugError`` (config_invalid).
    """
    check_config(domain, layout, enabled, force)
    scattered = enabled - leading(enabled)
    if scattered and config_layout is not None and not config_layout.hotplug:
        raise HotplugError(
            CONFIG_INVALID,
            f"vCPU {format_cpulist(scattered)} would be enabled and one below it not, but this machine has no CPU "
            "hotplug: it can only boot with the first so many; ask for a count",
        )
