# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the time and the memory of one batch grow with its guests: the module alone, without Ansible around it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.tasks import COLLECTIONS
from lab.guest import Guest

ROUNDS = 3
MODULE = "ansible_collections.kvm.hotplug.plugins.modules.vcpu_batch"


class Run(NamedTuple):
    """Seconds from start to end of the module's process, and the most memory it had, in MiB."""

    seconds: float
    memory: float


def measure(folder: Path, fleet: Sequence[Guest], counts: Sequence[int], enabled: int) -> list[list[str]]:
    """Return the cells of a table by number of guests, each of which has ``enabled`` vCPUs before."""
    rows = [["guests in a batch", "nothing to do", "one vCPU more each", "peak memory"]]
    for count in counts:
        idle: list[Run] = []
        busy: list[Run] = []
        for number in range(ROUNDS):
            busy.append(_run(folder, fleet[:count], enabled + number + 1))
            idle.append(_run(folder, fleet[:count], enabled + number + 1))
        enabled += ROUNDS
        rows.append([str(count), _told(idle), _told(busy), f"{max(run.memory for run in busy):.0f} MiB"])
    return rows


def _told(runs: Sequence[Run]) -> str:
    return f"{statistics.median(run.seconds for run in runs):.2f} s"


def _run(folder: Path, fleet: Sequence[Guest], count: int) -> Run:
    arguments = folder / "arguments.json"
    defaults = {"count": count, "guest_online": "ignore"}
    guests = [{"qmp_socket": guest.qmp_socket} for guest in fleet]
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {"guests": guests, "defaults": defaults}}))
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, arguments],
        env={**os.environ, "PYTHONPATH": os.fspath(COLLECTIONS)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as process:
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"a batch of {len(fleet)} guests failed")
    return Run(seconds, usage.ru_maxrss / 1024)
