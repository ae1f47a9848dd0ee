# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole Ansible tasks, timed by a callback: ours and Ansible's smallest in turn, in one play."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from lab.guest import Guest

ROUNDS = 15
CALLBACKS = Path(__file__).absolute().parent / "callback_plugins"
COLLECTIONS = Path(__file__).absolute().parents[2] / ".cache" / "collections"


def measure(folder: Path, guest: Guest) -> tuple[list[float], list[float]]:
    """Return the seconds that a ``vcpu`` with nothing to do took, and those of ``ping``, round by round."""
    noop = {"name": "noop", "kvm.hotplug.vcpu": {"qmp_socket": guest.qmp_socket, "count": 2}}
    ping = {"name": "ping", "ansible.builtin.ping": {}}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [noop, ping] * (ROUNDS + 1)}
    playbook = folder / "tasks.json"
    playbook.write_text(json.dumps([play]), encoding="utf-8")
    durations = folder / "durations.json"
    subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "--inventory", "localhost,", playbook],
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_STDOUT_CALLBACK": "durations",
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            "DURATIONS_FILE": str(durations),
        },
        check=True,
    )
    # The first round of each fills Ansible's own caches.
    measured = json.loads(durations.read_text(encoding="utf-8"))
    return measured["noop"][1:], measured["ping"][1:]
