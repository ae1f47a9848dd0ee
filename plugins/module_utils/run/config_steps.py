# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the config state; only ``apply`` calls them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONNECTION_LOST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    ADD,
    CONFIG,
    DISABLE,
    LIVE,
    REMOVE,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.boot_vcpus import made_hotpluggable
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, StepOutcome
from ansible_collections.kvm.hotplug.plugins.module_utils.run.interruption import completed

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import WriteResult
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Entry
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.live_steps import LiveSteps


async def write_config(run: LiveSteps, planned: Sequence[Entry]) -> None:
    """Enable and disable in one write all entities whose live steps, if any, were done; change the maximum with it.

    vCPUs that stay enabled because their live step failed are not removed.
    """
    config, state, journal = run.ports.config, run.state, run.journal
    if config is None or state.config is None:
        raise RuntimeError("config steps were planned for a guest without a config state")
    not_done = {
        entry.step.entity.index for entry in journal.entries if entry.step.target == LIVE and entry.status != DONE
    }
    entries = [entry for entry in planned if entry.step.entity.index not in not_done]
    enabled = _enabled_after(state.config.enabled, entries)
    entries = [entry for entry in entries if entry.step.kind != REMOVE or enabled.isdisjoint(entry.step.vcpus)]
    if not entries:
        return
    for entry in entries:
        entry.start()
    resizes = any(entry.step.kind in (ADD, REMOVE) for entry in entries)
    layout, maximum = (None, run.request.maximum) if resizes else (state.layout_of(CONFIG), None)
    try:
        hotpluggable = made_hotpluggable(entry.step for entry in entries)
        written = await completed(config.write(enabled, layout, hotpluggable, maximum))
    except HotplugError as error:
        for entry in entries:
            entry.end(StepOutcome(FAILED, took_effect=_unknown_if_lost(error), detail=error.msg, code=error.code))
        return
    journal.backup_file = written.backup_file
    run.ports.warn(written.warning)
    for entry in entries:
        if written.failure is None or _is_done(entry, written):
            entry.end(StepOutcome(DONE, took_effect=True))
        else:
            entry.end(StepOutcome(FAILED, detail=written.failure.msg, code=written.failure.code))


def _enabled_after(enabled: frozenset[int], entries: Sequence[Entry]) -> frozenset[int]:
    for entry in entries:
        members = entry.step.vcpus
        if entry.step.kind.adds:
            enabled = enabled.union(members)
        elif entry.step.kind == DISABLE:
            enabled = enabled.difference(members)
    return enabled


def _is_done(entry: Entry, written: WriteResult) -> bool:
    """Whether a write that failed has completed this step."""
    members = entry.step.vcpus
    if entry.step.kind in (ADD, REMOVE):
        return (members[0] < written.max_vcpus) is (entry.step.kind == ADD)
    if entry.step.makes_hotpluggable:
        return written.hotpluggable.issuperset(members)
    return (not written.enabled.isdisjoint(members)) is entry.step.kind.adds


def _unknown_if_lost(error: HotplugError) -> bool | None:
    return None if error.code == CONNECTION_LOST else False
