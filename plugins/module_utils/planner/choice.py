# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the vCPUs of a count: the fewest changes, then the lowest ids."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import COUNT_UNREACHABLE, HotplugError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Blocker


class Unit(NamedTuple):
    """A unit of the choice: an entity, or all entities of a core.

    ``pinned`` units cannot be disabled, those ``barred_by`` a blocker cannot be enabled. ``priority`` is 1 for a unit
    that could not be enabled again once it is disabled, -1 for one that may end the guest when it is enabled, else 0.
    ``weight`` grows with the number of its scopes that are enabled already, and with other reasons to keep it enabled.
    """

    vcpus: tuple[int, ...]
    node: int | None
    pinned: bool = False
    barred_by: Blocker | None = None
    priority: int = 0
    weight: int = 0

    @property
    def barred(self) -> bool:
        return self.barred_by is not None

    @property
    def preference(self) -> tuple[int, int]:
        """The lower, the earlier it is enabled and the later it is disabled."""
        return (-self.priority, -self.weight)

    @property
    def rank(self) -> tuple[bool, int, int, int]:
        return (not self.pinned, *self.preference, self.vcpus[0])


def choose(units: Sequence[Unit], count: int, where: str, more: str) -> frozenset[int]:
    """Return the ids of the best ``count`` vCPUs among ``units``, lowest ids first.

    Raises ``HotplugError`` (count_unreachable) if no set of whole units has that many; ``where`` is
    the name of the units' place in the message: ``the guest``, ``node 1``. ``more`` is how to get more units.
    """
    _check_reachable(units, count, where, more)
    chosen: list[int] = []
    for unit in sorted((unit for unit in units if not unit.barred), key=lambda unit: unit.rank):
        if len(chosen) + len(unit.vcpus) <= count:
            chosen.extend(unit.vcpus)
    return frozenset(chosen)


def choose_spread(units: Sequence[Unit], count: int, more: str) -> frozenset[int]:
    """Return the ids of the best ``count`` vCPUs, as evenly over the nodes as the machine allows.

    Raises ``HotplugError`` like ``choose``.
    """
    _check_reachable(units, count, "the guest", more)
    queues: dict[int | None, deque[Unit]] = {}
    filled: dict[int | None, int] = {}
    chosen: list[int] = []
    for unit in sorted((unit for unit in units if not unit.barred), key=lambda unit: unit.rank):
        filled.setdefault(unit.node, 0)
        if unit.pinned:
            filled[unit.node] += len(unit.vcpus)
            chosen.extend(unit.vcpus)
        else:
            queues.setdefault(unit.node, deque()).append(unit)
    while True:
        left = count - len(chosen)
        open_nodes = [node for node, queue in queues.items() if queue and len(queue[0].vcpus) <= left]
        if not open_nodes:
            break
        # Of equally filled nodes, the one with an enabled unit: a second run then changes nothing.
        node = min(
            open_nodes,
            key=lambda node: (
                filled[node],
                queues[node][0].preference,
                -1 if node is None else node,
            ),
        )
        unit = queues[node].popleft()
        filled[node] += len(unit.vcpus)
        chosen.extend(unit.vcpus)
    return frozenset(chosen)


def _check_reachable(units: Sequence[Unit], count: int, where: str, more: str) -> None:
    pinned = [vcpu for unit in units if unit.pinned for vcpu in unit.vcpus]
    highest = sum(len(unit.vcpus) for unit in units if not unit.barred)
    if count < len(pinned):
        raise HotplugError(
            COUNT_UNREACHABLE,
            f"{where} cannot go down to {count} vCPUs: {format_cpulist(pinned)} cannot be disabled; "
            f"request {len(pinned)} or more",
        )
    if count > highest:
        raise HotplugError(
            COUNT_UNREACHABLE,
            f"{where} can have {highest} vCPUs at most, not {count}: {_remedy(units, count, highest, more)}",
        )
    reachable = _reachable(units)
    if count not in reachable:
        near = [max(size for size in reachable if size < count), min(size for size in reachable if size > count)]
        raise HotplugError(
            COUNT_UNREACHABLE,
            f"{where} cannot have exactly {count} vCPUs, because {_sizes(units)} are enabled or disabled at once: "
            f"request {near[0]} or {near[1]}",
        )


def _remedy(units: Sequence[Unit], count: int, highest: int, more: str) -> str:
    """The remedy for a count that is too high; if all units would suffice, why some are barred."""
    barred = [unit for unit in units if unit.barred_by is not None]
    if count > sum(len(unit.vcpus) for unit in units) or not barred or barred[0].barred_by is None:
        return f"request {highest} or fewer, or {more}"
    blocker = barred[0].barred_by
    alike = format_cpulist(vcpu for unit in barred if unit.barred_by == blocker for vcpu in unit.vcpus)
    return f"vCPU {alike} cannot be enabled, because {blocker.reason}; request {highest} or fewer, or {blocker.remedy}"


def _reachable(units: Iterable[Unit]) -> frozenset[int]:
    """The counts that are reachable with whole units in the order of their rank."""
    sizes = [0]
    for unit in sorted((unit for unit in units if not unit.barred), key=lambda unit: unit.rank):
        sizes.append(sizes[-1] + len(unit.vcpus))
    return frozenset(sizes)


def _sizes(units: Iterable[Unit]) -> str:
    return " or ".join(str(size) for size in sorted({len(unit.vcpus) for unit in units}))
