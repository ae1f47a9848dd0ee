# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the config state; only ``apply`` calls them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONNECTION_LOST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import PLUG, UNPLUG
from ansible_collections.kvm.hotplug.plugins.module_utils.planner.boot_vcpus import made_hotpluggable
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import DONE, FAILED, StepOutcome
from ansible_collections.kvm.hotplug.plugins.module_utils.run.interruption import completed

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import WriteResult
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Entry
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.live_steps import LiveSteps


async def write_config(run: LiveSteps, planned: Sequence[Entry]) -> None:
    """Enable and disable in one write all entities whose live steps, if any, were done."""
    config, state, journal = run.ports.config, run.state, run.journal
    if config is None or state.config is None:
        raise RuntimeError("config steps were planned for a guest without a config state")
    not_done = {entry.step.entity.index for entry in journal.of(PLUG, UNPLUG) if entry.status != DONE}
    entries = [entry for entry in planned if entry.step.entity.index not in not_done]
    if not entries:
        return
    enabled = set(state.config.enabled)
    for entry in entries:
        entry.start()
        members = entry.step.entity.vcpus
        if entry.step.kind.adds:
            enabled.update(members)
        else:
            enabled.difference_update(members)
    try:
        hotpluggable = made_hotpluggable(entry.step for entry in entries)
        written = await completed(config.write(frozenset(enabled), state.layout, hotpluggable))
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


def _is_done(entry: Entry, written: WriteResult) -> bool:
    """Whether a write that failed has completed this step."""
    members = entry.step.entity.vcpus
    if entry.step.makes_hotpluggable:
        return written.hotpluggable.issuperset(members)
    return (not written.enabled.isdisjoint(members)) is entry.step.kind.adds


def _unknown_if_lost(error: HotplugError) -> bool | None:
    return None if error.code == CONNECTION_LOST else False
