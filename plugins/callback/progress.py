# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback that prints how many hosts and guests a task has done so far."""

from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: aggregate
short_description: Print how many hosts and guests a task has done so far
version_added: 1.0.0
author:
  - the kvm.hotplug authors (@kvm-hotplug)
description:
  - Prints lines to stderr while hosts finish a task of M(kvm.hotplug.vcpu), M(kvm.hotplug.vcpu_batch) or
    M(kvm.hotplug.vcpu_info), or a task that inspects the guests of a rollout. A line has the name of the task, the
    hosts that are done, their guests, and the time since the task began, for example
    C(progress of 'Change the guests', 5 of 20 hosts, 75 guests, 1 failed, 0:00:31).
  - The hosts are those of the whole play, with all batches of C(serial). A host that does not get as far as the task
    is not counted as done.
  - If the task has a loop, the guests of an item are counted as soon as a host has finished it.
  - A task with C(poll=0) is not counted, because it only starts the module.
  - C(failed) counts guests, also those that a batch skipped after another one failed. C(unreachable) counts hosts.
requirements:
  - enabled in the configuration, for example C(callbacks_enabled = kvm.hotplug.progress) in C(ansible.cfg)
options:
  interval:
    description:
      - The minimum number of seconds between two lines about the same task. The last one is always printed.
    type: float
    default: 1.0
    env:
      - name: KVM_HOTPLUG_PROGRESS_INTERVAL
    ini:
      - section: callback_kvm_hotplug_progress
        key: interval
seealso:
  - module: kvm.hotplug.vcpu_batch
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ansible.plugins.callback import CallbackBase

from ansible_collections.kvm.hotplug.plugins.plugin_utils.progress import Progress, is_started_only

if TYPE_CHECKING:
    from ansible.executor.stats import AggregateStats
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

MODULES = ("vcpu", "vcpu_batch", "vcpu_info")
# The steps of a rollout that inspect guests.
STEPS = ("plan", "begin", "end", "begin_revert", "end_revert")


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core has no types
    """Ansible's entry point."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kvm.hotplug.progress"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._play = ""
        self._hosts = 0
        # By play, and file and line of the task: they are the same in all batches of a play.
        self._tasks: dict[tuple[str, str], Progress] = {}
        self._pending: Progress | None = None
        self._printed = 0.0

    def v2_playbook_on_play_start(self, play: Play) -> None:
        self._print_pending()
        self._play = play._uuid
        self._hosts = len(play.get_variable_manager().get_vars(play=play)["ansible_play_hosts_all"])

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:
        self._print_pending()
        if _is_ours(task):
            self._progress(task)
            self._printed = 0.0

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        self._print_pending()

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._count(result, Progress.item_done)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._count(result, Progress.item_done)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._count(result, Progress.host_done)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._count(result, Progress.host_done)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._count(result, Progress.host_done)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._count(result, Progress.host_done)

    def _count(self, result: Any, how: Callable[[Progress, str, Mapping[str, Any]], None]) -> None:
        if not _is_ours(result._task) or is_started_only(result._result):
            return
        progress = self._progress(result._task)
        how(progress, result._host.get_name(), result._result)
        self._pending = progress
        if progress.is_complete or time.monotonic() - self._printed >= self.get_option("interval"):
            self._print_pending()

    def _progress(self, task: Task) -> Progress:
        """Return what is counted of a task of the present play."""
        key = (self._play, task.get_path())
        if key not in self._tasks:
            self._tasks[key] = Progress(task.get_name(), self._hosts, time.monotonic())
        return self._tasks[key]

    def _print_pending(self) -> None:
        if self._pending is not None:
            self._printed = time.monotonic()
            self._display.display(self._pending.line(self._printed), stderr=True)
        self._pending = None


def _is_ours(task: Task) -> bool:
    collection, _dot, module = str(task.action).rpartition(".")
    if collection not in ("", "kvm.hotplug"):
        return False
    return module in MODULES or (module == "rollout_step" and task.args.get("step") in STEPS)
