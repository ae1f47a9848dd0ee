# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments that start QEMU with a domain's config state, sparse or not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.memory_args import memory_arguments
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import ConfigLayout, topology_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import arguments
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import Slot


def qemu_args(domain: Domain, config: ConfigLayout, enabled: Collection[int]) -> tuple[str, ...]:
    """Return the arguments, none if they need a driver that ``config`` does not know.

    Raises ``HotplugError`` (config_invalid) for vCPUs with which QEMU cannot start.
    """
    present = [_is_enabled(slot, enabled) for slot in config.slots]
    if not present or not present[0]:
        raise HotplugError(CONFIG_INVALID, "vCPU 0 is disabled in config, but a guest boots on it: enable it")
    booted = _booted(domain, config, present)
    plugged = [slot for slot, there in zip(config.slots[booted:], present[booted:]) if there]
    config.check(enabled)
    if not all(slot.driver for slot in plugged):
        return ()
    threads = sum(len(slot.entity.vcpus) for slot in config.slots[:booted])
    args = ["-smp", smp_argument(domain, threads), *memory_arguments(domain, config.slots)]
    for slot in plugged:
        args += ["-device", arguments.device_argument(slot)]
    return tuple(args)


def _booted(domain: Domain, config: ConfigLayout, present: Sequence[bool]) -> int:
    """How many slots QEMU boots with: as libvirt has it, the first ones, up to one that is disabled or hotpluggable.

    A hotpluggable one can only be a device where its driver is known.
    """
    for index, slot in enumerate(config.slots):
        pluggable = bool(index and slot.driver) and domain.hotpluggable.issuperset(slot.entity.vcpus)
        if not present[index] or (config.hotplug and pluggable):
            return index
    return len(present)


def smp_argument(domain: Domain, booted: int) -> str:
    """The value of ``-smp`` for a guest that starts with its first ``booted`` vCPUs."""
    return arguments.smp_argument(booted, {**topology_of(domain), "maxcpus": domain.max_vcpus})


def _is_enabled(slot: Slot, enabled: Collection[int]) -> bool:
    found = [vcpu for vcpu in slot.entity.vcpus if vcpu in enabled]
    if found and len(found) < len(slot.entity.vcpus):
        raise HotplugError(
            CONFIG_INVALID,
            f"vCPUs {format_cpulist(slot.entity.vcpus)} are one core, but only {format_cpulist(found)} are enabled "
            "in config: enable or disable whole cores",
        )
    return bool(found)
