# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one process takes: its duration, its CPU time and its peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from real.support.modules import COLLECTIONS, Result, module_command

from lab import LabError
from lab.daemon import Daemon

MEASURE = Path(__file__).with_name("measure.py")


class Cost(NamedTuple):
    """Seconds from start to end, seconds of CPU time, and the most memory that one of its processes had, in MiB."""

    seconds: float
    cpu: float
    memory: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.cpu:.1f} s, {self.memory:.0f} MiB"


def run_module(module: str, client: Daemon | None, **options: Any) -> tuple[Result, Cost]:
    """Run a module by its own Python, without Ansible, and return its result and its cost."""
    command, environment = module_command(module, client)
    with tempfile.TemporaryFile() as arguments, tempfile.TemporaryFile() as output:
        arguments.write(json.dumps({"ANSIBLE_MODULE_ARGS": options}).encode())
        arguments.seek(0)
        _status, cost = run_measured(command, environment, arguments, output)
        return Result(_read(output)), cost


def run_inventory(folder: Path, client: Daemon | None, **options: Any) -> tuple[dict[str, Any], Cost]:
    """Run ``ansible-inventory --list`` with the inventory plugin, and return what it printed and its cost."""
    source = folder / "fleet.guests.yml"
    source.write_text(json.dumps({"plugin": "kvm.hotplug.guests", "unreachable": "fail", **options}), encoding="utf-8")
    environment = {
        **os.environ,
        **({} if client is None else client.environment),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1",
    }
    command = [sys.executable, "-m", "ansible", "inventory", "--inventory", str(source), "--list"]
    with tempfile.TemporaryFile() as nothing, tempfile.TemporaryFile() as output:
        _status, cost = run_measured(command, environment, nothing, output)
        return _read(output), cost


def run_measured(
    command: Sequence[str], environment: Mapping[str, str], given: IO[bytes], output: IO[bytes]
) -> tuple[int, Cost]:
    """Run a command with this standard input and output, and return its exit status and its cost."""
    with tempfile.NamedTemporaryFile() as cost:
        measured = [sys.executable, "-S", "-E", str(MEASURE), cost.name, *command]
        # A module that failed ends with another status.
        ended = subprocess.run(measured, env=environment, stdin=given, stdout=output, check=False)
        return ended.returncode, Cost(*json.load(cost))


def _read(output: IO[bytes]) -> dict[str, Any]:
    output.seek(0)
    try:
        read: dict[str, Any] = json.load(output)
    except ValueError as error:
        raise LabError(f"a process that was measured has printed no result: {error}") from None
    return read
