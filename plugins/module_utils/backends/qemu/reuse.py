# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vCPUs that QEMU cannot plug again under KVM without exiting: those that have run, on hosts that refuse them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import acpi
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import NOT_HOTPLUGGABLE
from ansible_collections.kvm.hotplug.plugins.module_utils.model import EMPTY, Blocker

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import Slot

# On other architectures no such data as the CPUID is set at a plug.
ARCHITECTURES = ("x86_64", "i386")

_REFUSES = "QEMU would exit, because KVM on this host refuses a vCPU that has run"
_MAY_REFUSE = "QEMU may exit: it could not be verified whether KVM on the guest's host accepts a vCPU that has run"
_REMEDY = (
    "enable another vCPU, or shut the guest down and start it again (a reboot is not enough), or set force: true to "
    "plug it at the risk of ending the guest"
)


class KvmHistory(NamedTuple):
    """The known facts about the vCPUs of a guest under KVM, by slot.

    ``booted`` is how many slots had a vCPU when QEMU started, from the lowest. ``exits`` are the exits of the plugged
    vCPUs from the guest, as far as KVM counts them. ``left`` are the slots from which a vCPU was ejected,
    ``never_ran`` those of them whose vCPU had not run. ``takes_back`` is whether the host's KVM accepts a vCPU that has
    run, None if unknown.
    """

    booted: int = 0
    exits: Mapping[int, int] = EMPTY
    left: Collection[int] = ()
    never_ran: Collection[int] = ()
    takes_back: bool | None = None

    def matters(self, slots: Sequence[Slot]) -> bool:
        """Whether any vCPU could be affected, so that ``takes_back`` is needed."""
        return bool(unsafe_plugs(slots, self._replace(takes_back=False)))


def unsafe_plugs(slots: Sequence[Slot], history: KvmHistory) -> dict[int, Blocker]:
    """Return the slots whose plug may end the guest; those that are plugged now would be, once unplugged."""
    if history.takes_back:
        return {}
    found: dict[int, Blocker] = {}
    for slot in slots:
        index = slot.entity.index
        # vCPU 0 is never unplugged.
        why = _history_of(slot, history) if index else ""
        if why:
            consequence = _MAY_REFUSE if history.takes_back is None else _REFUSES
            found[index] = Blocker(NOT_HOTPLUGGABLE, f"{why}, and {consequence}", _REMEDY)
    return found


def refused(why: str) -> Blocker:
    """Return the blocker of a plug on a host that refuses vCPUs that have run; ``why`` this vCPU may have run."""
    return Blocker(NOT_HOTPLUGGABLE, f"{why}, and {_REFUSES}", _REMEDY)


def _history_of(slot: Slot, history: KvmHistory) -> str:
    """Why this slot's vCPU has run or may have run; nothing if it has not, or if there is no risk."""
    index = slot.entity.index
    is_present = slot.qom_path is not None
    if index in history.never_ran and not is_present:
        return ""
    if is_present and history.exits.get(index) == 0:
        return ""
    if index < history.booted:
        return "the guest booted with it"
    if history.takes_back is None:
        # Nearly all hosts accept a vCPU that was plugged before.
        return ""
    if is_present:
        return "it has run" if index in history.exits else "it may have run"
    return "it was plugged before" if index in history.left else ""


def read_exits(slots: Sequence[Slot], reply: object) -> dict[int, int]:
    """Return the exits of each plugged vCPU, from the reply to query-stats for the vCPUs."""
    by_path = {slot.qom_path: slot.entity.index for slot in slots if slot.qom_path is not None}
    found: dict[int, int] = {}
    for entry in reply if isinstance(reply, list) else []:
        if not isinstance(entry, dict):
            continue
        path, stats = entry.get("qom-path"), entry.get("stats")
        index = by_path.get(path) if isinstance(path, str) else None
        for stat in stats if isinstance(stats, list) else []:
            value = stat.get("value") if isinstance(stat, dict) and stat.get("name") == "exits" else None
            if index is not None and isinstance(value, int):
                found[index] = value
    return found


def read_left(slots: Sequence[Slot], words: Mapping[int, acpi.OstStatus | None]) -> frozenset[int]:
    """Return the empty slots from which the guest has ejected a vCPU."""
    ejected = acpi.OstStatus(acpi.EJECTED)
    return frozenset(
        slot.entity.index for slot in slots if slot.qom_path is None and words.get(slot.entity.index) == ejected
    )
