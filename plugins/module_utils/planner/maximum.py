# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that change how many vCPUs the next boot can have. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    ADD,
    CONFIG,
    REMOVE,
    Entity,
    Maximum,
    Step,
    StepKind,
)

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestState, Layout

# The step concerns no entity of the running guest.
_NO_ENTITY = -1


def check_maximum(state: GuestState, scopes: Sequence[str]) -> None:
    """Refuse to change the maximum if the task does not change config; raises ``HotplugError``."""
    if CONFIG not in scopes or state.config is None:
        raise HotplugError(
            CONFLICTING_REQUEST,
            "maximum changes the config state, which this task does not change: use scope all or config for a guest "
            "that has one, or omit maximum",
        )


def added(before: Layout, after: Layout) -> list[Step]:
    """Return the step that adds the vCPUs that the next boot gains, in a list; empty without any."""
    return _step(ADD, before.max_vcpus, after.max_vcpus)


def removed(before: Layout, after: Layout, enabled: Collection[int]) -> list[Step]:
    """Return the step that removes the vCPUs that the next boot loses, in a list; empty without any.

    ``enabled`` are the ids enabled in config afterwards. Raises ``HotplugError`` (count_unreachable) if one is lost.
    """
    Maximum(after.max_vcpus).check(enabled)
    return _step(REMOVE, after.max_vcpus, before.max_vcpus)


def _step(kind: StepKind, first: int, end: int) -> list[Step]:
    return [Step(kind, Entity(_NO_ENTITY, tuple(range(first, end))))] if first < end else []
