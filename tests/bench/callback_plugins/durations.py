# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A callback that writes down how long each task took, by its name."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Writes the file named by ``DURATIONS_FILE``: lists of seconds, by task name."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "durations"

    def __init__(self):
        super().__init__()
        self.started = 0.0
        self.durations = {}

    def v2_playbook_on_task_start(self, task, is_conditional):
        self.started = time.perf_counter()

    def v2_runner_on_ok(self, result):
        name = getattr(result, "task_name", None) or result._task_fields["name"]
        self.durations.setdefault(name, []).append(time.perf_counter() - self.started)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._display.error(str(result._result.get("msg")))

    def v2_playbook_on_stats(self, stats):
        Path(os.environ["DURATIONS_FILE"]).write_text(json.dumps(self.durations), encoding="utf-8")
