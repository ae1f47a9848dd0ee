# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines that diff mode compares."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.model import CONFIG, EMPTY, LIVE
from ansible_collections.kvm.hotplug.plugins.module_utils.report.guest import state_of

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestState


def state_lines(
    state: GuestState,
    with_online: bool,
    with_hotpluggable: bool = False,
    only: Collection[int] | None = None,
    with_maximum: bool = False,
) -> str:
    """Return one line per vCPU, the same text for the same state, for diff mode to compare.

    ``with_online`` adds whether the guest OS runs on it, ``with_hotpluggable`` whether an enabled vCPU is
    hotpluggable at the next boot, ``with_maximum`` a line with the maximum. ``only`` are the vCPUs to return, None for
    all. A vCPU is not placed if its thread is not where ``<cputune>`` says.
    """
    online = state.online if with_online else None
    misplaced = state.misplaced or EMPTY
    lines: list[str] = []
    if with_maximum:
        maxima = (
            f"{name} {state.layout_of(name).max_vcpus}" for name in (LIVE, CONFIG) if state.scope(name) is not None
        )
        lines.append(f"maximum: {', '.join(maxima)}\n")
    for entity in state.widest_layout.entities:
        place = "" if entity.node is None else f" (node {entity.node})"
        for vcpu in entity.vcpus:
            if only is not None and vcpu not in only:
                continue
            scopes = ((name, state_of(state, name, vcpu)) for name in (LIVE, CONFIG))
            states = [f"{scope} {value}" for scope, value in scopes if value is not None]
            if with_hotpluggable and state.config is not None and vcpu in state.config.enabled:
                states.append("hotpluggable" if vcpu in state.config.hotpluggable else "not hotpluggable")
            if vcpu in misplaced:
                states.append("not placed")
            if online is not None and vcpu in online.known:
                states.append("online" if vcpu in online.enabled else "offline")
            lines.append(f"vCPU {vcpu}{place}: {', '.join(states)}\n")
    return "".join(lines)
