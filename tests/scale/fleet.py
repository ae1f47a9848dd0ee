# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Simulated hypervisors: hosts that are this machine, and guests that are shut off, each a file of domain XML."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conftest import collections_path

from fleets.costs import Cost, run_measured

BEFORE, AFTER = 2, 4

DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>256</memory>
  <vcpu current='{enabled}'>8</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu><topology sockets='4' cores='2' threads='1'/></cpu>
</domain>
"""


class Fleet:
    """An inventory of so many hypervisors with so many guests each; with 0, only the first one has a guest."""

    def __init__(self, folder: Path, hypervisors: int, guests: int) -> None:
        folder.mkdir()
        self.folder = folder
        self.configs = {
            f"kvm{number:03}": [folder / f"kvm{number:03}-guest{guest:02}.xml" for guest in range(guests or not number)]
            for number in range(hypervisors)
        }
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "rollout_state_dir": str(folder / "records"),
        }
        hosts = {
            host: {"kvm_hotplug_desired_guests": [{"domain_xml": str(path), "count": AFTER} for path in paths]}
            for host, paths in self.configs.items()
        }
        (folder / "inventory.json").write_text(json.dumps({"hypervisors": {"hosts": hosts, "vars": variables}}))
        self.reset(BEFORE)

    def reset(self, enabled: int) -> None:
        """Write the config of all guests, with so many enabled vCPUs."""
        for paths in self.configs.values():
            for path in paths:
                path.write_text(DOMAIN.format(name=path.stem, enabled=enabled))

    def play(self, playbook: str, changed: bool) -> Cost:
        """Run a playbook, which must succeed, and report a change of each hypervisor with guests or of none."""
        inventory = self.folder / "inventory.json"
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": os.fspath(collections_path()),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
        }
        command = [sys.executable, "-m", "ansible", "playbook", playbook, "--inventory", os.fspath(inventory)]
        with tempfile.TemporaryFile() as nothing, tempfile.TemporaryFile() as printed:
            status, cost = run_measured(command, environment, nothing, printed)
            printed.seek(0)
            text = printed.read().decode()
        reported = text.count(" changed=1 ")
        with_guests = sum(1 for paths in self.configs.values() if paths)
        if status or reported != (with_guests if changed else 0):
            raise SystemExit(f"{text}\n{playbook} on {len(self.configs)} hypervisors failed")
        return cost

    def bare(self, tasks: Mapping[str, Mapping[str, Any]], changed: bool) -> Cost:
        """Run a play of only these batches, with ``count`` and further keywords of the task by its name."""
        batch = {"guests": "{{ kvm_hotplug_desired_guests }}", "details": "full"}
        common = {"register": "batch", "when": "kvm_hotplug_desired_guests | length > 0"}
        play = {
            "hosts": "hypervisors",
            "gather_facts": False,
            "tasks": [
                {"name": name, "kvm.hotplug.vcpu_batch": batch, **common, **keywords}
                for name, keywords in tasks.items()
            ],
        }
        playbook = self.folder / "bare.json"
        playbook.write_text(json.dumps([play]))
        return self.play(os.fspath(playbook), changed)
