# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the ids of vCPUs to the guest's own numbers of its CPUs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import AGENT_ERROR, HotplugError, printable

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import GuestCpu

REMEDY = (
    "let the guest agent read the guest's sysfs (guest-file-open, guest-file-read and guest-file-close, "
    "by block-rpcs or allow-rpcs in its configuration)"
)


def logical_ids(
    max_vcpus: int, enabled: Collection[int], cpus: Sequence[GuestCpu], slots: Mapping[int, int] | None
) -> dict[int, GuestCpu]:
    """Return the guest's CPU behind each of the vCPUs that are ``enabled`` in the machine.

    ``slots`` are the vCPU ids that the guest tells by its CPUs' own numbers. Without them, a guest that has as many
    CPUs as there are vCPUs, and no gap in either, is taken to count as the machine does; it does so as long as no vCPU
    was plugged out of sequence. A vCPU that the guest does not see (yet) is left out.

    Raises ``HotplugError`` (agent_error) where that cannot be told, or the guest contradicts the machine.
    """
    if slots:
        return _by_slots(max_vcpus, frozenset(enabled), cpus, slots)
    numbers = [cpu.logical_id for cpu in cpus]
    if sorted(enabled) == sorted(numbers) == list(range(len(numbers))):
        return {cpu.logical_id: cpu for cpu in cpus}
    raise HotplugError(
        AGENT_ERROR,
        f"which of the guest's CPUs {_shown(numbers)} are the vCPUs {_shown(enabled)} cannot be told: the guest counts "
        f"its CPUs in its own way, and does not say which is which; {REMEDY}; this works with Linux in the guest only",
    )


def _by_slots(
    max_vcpus: int, enabled: frozenset[int], cpus: Sequence[GuestCpu], slots: Mapping[int, int]
) -> dict[int, GuestCpu]:
    found: dict[int, GuestCpu] = {}
    for cpu in cpus:
        vcpu = slots.get(cpu.logical_id)
        if vcpu is None:
            # Some platforms list CPUs that could be there; one that is online is.
            if cpu.online:
                raise _contradiction(f"it does not tell which vCPU its CPU {cpu.logical_id} is, unlike those of others")
        elif vcpu >= max_vcpus or vcpu < 0:
            raise _contradiction(
                f"its CPU {cpu.logical_id} is said to be vCPU {vcpu}, and the highest is {max_vcpus - 1}"
            )
        elif vcpu in found:
            raise _contradiction(f"vCPU {vcpu} is said to be both its CPUs {found[vcpu].logical_id}, {cpu.logical_id}")
        elif vcpu in enabled:
            found[vcpu] = cpu
        elif cpu.online:
            raise _contradiction(f"its CPU {cpu.logical_id} is online and said to be vCPU {vcpu}, which is not enabled")
    return found


def _contradiction(what: str) -> HotplugError:
    return HotplugError(
        AGENT_ERROR,
        f"the guest's sysfs does not agree with the machine: {what}; run the task again, as a vCPU may just have come "
        "or gone, and see whether the guest's CPU numbers are to be trusted",
    )


def _shown(ids: Collection[int]) -> str:
    return printable(format_cpulist(ids)) or "(none)"
