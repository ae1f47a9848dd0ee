# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CPU time that the threads of a QEMU on this host have used, by the kernel."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.kernel_files import read_text
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.threads import PROC, host_ids

# proc_pid_stat(5): fields 14 and 15, in clock ticks; the first two are before the parenthesis that ends the name.
_USER, _SYSTEM = 14 - 3, 15 - 3


def cpu_times(pid: int, ids: Mapping[int, int], proc: Path = PROC) -> dict[int, float]:
    """Return the CPU time in seconds of those threads that process ``pid`` has, by the keys of ``ids``."""
    ticks = os.sysconf("SC_CLK_TCK")
    times: dict[int, float] = {}
    for key, thread in host_ids(pid, ids, proc).items():
        # The thread may end at any moment.
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = read_text(f"{proc}/{pid}/task/{thread}/stat").rpartition(")")[2].split()
            times[key] = (int(fields[_USER]) + int(fields[_SYSTEM])) / ticks
    return times
