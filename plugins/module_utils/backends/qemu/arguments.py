# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vCPUs as QEMU arguments: those that a guest is started with, and those of a plugged vCPU."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.model import LEVELS

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import Slot


def smp_argument(booted: int, smp: Mapping[str, int]) -> str:
    """The value of ``-smp`` for ``booted`` vCPUs; ``smp`` has the number of each level, and ``maxcpus``."""
    plurals = [(level, f"{level}s") for level in LEVELS]
    # QEMU refuses levels that a machine does not support, even with the value 1.
    named = [plural for level, plural in plurals if level in ("socket", "core", "thread") or smp.get(plural, 1) > 1]
    return ",".join([f"cpus={booted}", f"maxcpus={smp['maxcpus']}", *(f"{name}={smp.get(name, 1)}" for name in named)])


def device_argument(slot: Slot) -> str:
    """The value of ``-device`` that fills this slot when QEMU starts."""
    props = ",".join(f"{key}={value}" for key, value in sorted(slot.props.items()))
    return f"{slot.driver},id={slot.alias or alias_for(slot)},{props}"


def alias_for(slot: Slot, taken: Collection[str] = ()) -> str:
    """The device id for a plug into this slot: libvirt's, unless another device has it."""
    alias = f"vcpu{slot.entity.vcpus[0]}"
    names = itertools.chain([alias, f"kvm-hotplug-{alias}"], (f"kvm-hotplug-{alias}-{n}" for n in itertools.count(2)))
    return next(name for name in names if name not in taken)
