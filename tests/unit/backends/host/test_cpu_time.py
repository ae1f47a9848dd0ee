# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CPU time of threads, by a real kernel and by written files."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.cpu_time import cpu_times


def test_the_time_of_a_thread_grows_while_it_runs() -> None:
    thread = threading.get_native_id()
    before = cpu_times(os.getpid(), {3: thread})[3]
    began = time.thread_time()
    while time.thread_time() - began < 0.2:
        pass
    # The kernel counts in ticks of 10 ms.
    assert 0.15 < cpu_times(os.getpid(), {3: thread})[3] - before < 0.35


def test_a_thread_of_another_process_and_one_without_figures_have_no_time(tmp_path: Path) -> None:
    for thread, stat in ((11, "11 (CPU 0/KVM ) x) S " + "1 " * 50), (12, "12 (short) S")):
        folder = tmp_path / "10/task" / str(thread)
        folder.mkdir(parents=True)
        (folder / "status").write_text(f"Name:\tx\nNSpid:\t{thread}\n")
        (folder / "stat").write_text(stat)
    assert cpu_times(10, {0: 11, 1: 12, 2: 13}, tmp_path) == {0: 2 / os.sysconf("SC_CLK_TCK")}
