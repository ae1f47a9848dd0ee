# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mapping of the guest's CPUs to vCPUs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import AGENT_ERROR, HotplugError, printable

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.commands import GuestCpu

REMEDY = (
    "let the guest agent read the guest's sysfs (guest-file-open, guest-file-read and guest-file-close, "
    "by block-rpcs or allow-rpcs in its configuration)"
)


def match_cpus(
    plugged: Collection[int], cpus: Sequence[GuestCpu], slots: Mapping[int, int] | None
) -> dict[int, GuestCpu]:
    """Return the guest's CPU behind each of the vCPUs that are ``plugged`` in the machine.

    ``slots`` are the vCPU ids in the guest's sysfs, by the guest's CPU numbers. Without them, CPU numbers and vCPU ids
    are assumed to be equal if there are as many CPUs as vCPUs and neither has a gap; this is correct unless a vCPU was
    plugged out of sequence. A vCPU that the guest has not detected (yet) is left out.

    Raises ``HotplugError`` (agent_error) if they cannot be mapped, or if the guest contradicts the machine.
    """
    if slots:
        return _by_slots(frozenset(plugged), cpus, slots)
    numbers = [cpu.number for cpu in cpus]
    if sorted(plugged) == sorted(numbers) == list(range(len(numbers))):
        return {cpu.number: cpu for cpu in cpus}
    raise HotplugError(
        AGENT_ERROR,
        f"the guest's CPUs {_shown(numbers)} cannot be mapped to the vCPUs {_shown(plugged)}: the guest has its own "
        f"CPU numbers, and its sysfs, which has the mapping, cannot be read; {REMEDY}; this works only with Linux in "
        "the guest",
    )


def cpus_without_machine(cpus: Sequence[GuestCpu], slots: Mapping[int, int] | None) -> dict[int, GuestCpu]:
    """Return the guest's CPUs by the vCPU ids in its sysfs, or without these by its own numbers."""
    if slots:
        return {slots[cpu.number]: cpu for cpu in cpus if cpu.number in slots}
    return {cpu.number: cpu for cpu in cpus}


def _by_slots(plugged: frozenset[int], cpus: Sequence[GuestCpu], slots: Mapping[int, int]) -> dict[int, GuestCpu]:
    found: dict[int, GuestCpu] = {}
    for cpu in cpus:
        vcpu = slots.get(cpu.number)
        if vcpu is None:
            # Some platforms list CPUs that are possible but not present; an online CPU is present.
            if cpu.online:
                raise _contradiction(f"its CPU {cpu.number} has no vCPU id in sysfs, unlike others")
        elif vcpu in found:
            raise _contradiction(f"both its CPUs {found[vcpu].number} and {cpu.number} have the id of vCPU {vcpu}")
        elif vcpu in plugged:
            found[vcpu] = cpu
        elif cpu.online:
            raise _contradiction(f"its CPU {cpu.number} is online and has the id of vCPU {vcpu}, which is not plugged")
    return found


def _contradiction(what: str) -> HotplugError:
    return HotplugError(
        AGENT_ERROR,
        f"the guest's sysfs contradicts the machine: {what}; run the task again, because a vCPU may just have been "
        "plugged or unplugged; if the error persists, the guest's CPU numbers cannot be trusted",
    )


def _shown(ids: Collection[int]) -> str:
    return printable(format_cpulist(ids)) or "(none)"
