# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vCPUs of a config that become hotpluggable: the boot vCPUs, except the entity of vCPU 0. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    HOTPLUG_UNSUPPORTED,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import CONFIG, ENABLE, ConfigState, Step

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, GuestState


def check_boot_vcpus(state: GuestState, scopes: Sequence[str]) -> None:
    """Refuse to make boot vCPUs hotpluggable if that is not possible; raises ``HotplugError``."""
    if CONFIG not in scopes or state.config is None:
        raise HotplugError(
            CONFLICTING_REQUEST,
            "boot_vcpus changes the config state, which this task does not change: use scope all or config for a guest "
            "that has one, or omit boot_vcpus",
        )
    if not state.layout.hotplug:
        raise HotplugError(
            HOTPLUG_UNSUPPORTED,
            "boot_vcpus is hotpluggable, but the guest's machine has no CPU hotplug, and could not start with "
            "hotpluggable vCPUs: omit boot_vcpus",
        )
    fixed = state.config.boot_vcpus_fixed
    if fixed is not None:
        raise HotplugError(fixed.code, f"boot_vcpus is hotpluggable, but {fixed.reason}: {fixed.remedy}")


def boot_vcpu_steps(entities: Iterable[Entity], config: ConfigState, wanted: Collection[int]) -> list[Step]:
    """Return the steps that make vCPUs hotpluggable that are enabled in ``config`` and stay enabled (``wanted``)."""
    staying = config.enabled.intersection(wanted)
    return [
        Step(ENABLE, entity, makes_hotpluggable=True)
        for entity in entities
        if 0 not in entity.vcpus
        and staying.issuperset(entity.vcpus)
        and not config.hotpluggable.issuperset(entity.vcpus)
    ]


def made_hotpluggable(steps: Iterable[Step]) -> frozenset[int]:
    """Return the ids that these steps make hotpluggable."""
    return frozenset(vcpu for step in steps if step.makes_hotpluggable for vcpu in step.vcpus)
