# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole Ansible tasks, timed by a callback; of them ours and Ansible's smallest in turn, in one play."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.guest import Guest

ROUNDS = 15
CALLBACKS = Path(__file__).absolute().parent / "callback_plugins"
COLLECTIONS = Path(__file__).absolute().parents[2] / ".cache" / "collections"


def measure(folder: Path, guest: Guest) -> tuple[list[float], list[float]]:
    """Return the seconds that a ``vcpu`` with nothing to do took, and those of ``ping``, round by round."""
    noop = {"name": "noop", "kvm.hotplug.vcpu": {"qmp_socket": guest.qmp_socket, "count": 2}}
    ping = {"name": "ping", "ansible.builtin.ping": {}}
    measured = durations(folder, [noop, ping] * (ROUNDS + 1), sys.executable, {})
    # The first round of each fills Ansible's own caches.
    return measured["noop"][1:], measured["ping"][1:]


def durations(
    folder: Path, tasks: Sequence[Mapping[str, Any]], python: str, environment: Mapping[str, str]
) -> dict[str, list[float]]:
    """Run tasks in one play, by this Python and in this environment; return the seconds they took, by their names."""
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    playbook = folder / "tasks.json"
    playbook.write_text(json.dumps([play]), encoding="utf-8")
    written = folder / "durations.json"
    subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "--inventory", "localhost,", playbook],
        env={
            **os.environ,
            **environment,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_PYTHON_INTERPRETER": python,
            "ANSIBLE_STDOUT_CALLBACK": "durations",
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            "DURATIONS_FILE": str(written),
        },
        check=True,
    )
    found: dict[str, list[float]] = json.loads(written.read_text(encoding="utf-8"))
    return found
