# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the collection's playbooks like users, on an inventory of several hypervisors, all of which are this machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.daemon import Daemon

from .modules import COLLECTIONS, python_path

# What a playbook may take besides its guests, on a loaded machine.
PATIENCE = 240


class Output(str):
    """What a playbook printed; ``status`` is how it ended."""

    status = 0

    @property
    def text(self) -> str:
        """All of it in one line, because Ansible wraps messages."""
        return " ".join(self.split())

    def recap(self, host: str) -> dict[str, int]:
        """Return the numbers of a host's last line."""
        line = re.search(rf"^{host} +: (.*)$", self, re.MULTILINE)
        return {key: int(number) for key, number in re.findall(r"(\w+)=(\d+)", line.group(1))} if line else {}

    def row(self, guest: object, table: int = -1) -> list[str]:
        """Return the cells after a guest's name, in one of the tables that were printed, the last one by default."""
        found = re.findall(rf'^ +"\| {re.escape(str(guest))} +\| (.*) \|",?$', self, re.MULTILINE)
        assert found, f"there is no row of {guest} in {self}"
        return [cell.strip() for cell in found[table].split(" | ")]


class Hypervisors:
    """An inventory whose hosts are hypervisors with these variables, and the folder of its rollouts' records.

    With guests of a ``client`` of a libvirtd, their Python is the system's own, with its packages.
    """

    def __init__(
        self,
        folder: Path,
        hosts: Mapping[str, Sequence[Mapping[str, Any]]],
        client: Daemon | None = None,
        **variables: Any,
    ) -> None:
        self.environment = {} if client is None else {**client.environment}
        self.state = folder / "state"
        self.inventory = folder / "inventory.json"
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable if client is None else client.python,
            "rollout_state_dir": str(self.state),
            **variables,
        }
        desired = {host: {"kvm_hotplug_desired_guests": list(guests)} for host, guests in hosts.items()}
        self.inventory.write_text(json.dumps({"hypervisors": {"hosts": desired, "vars": variables}}))

    def record(self, rollout: str, host: str) -> dict[str, Any]:
        """Return what a rollout has recorded of a hypervisor."""
        found: dict[str, Any] = json.loads((self.state / rollout / f"{host}.json").read_text())
        return found

    def play(self, name: str, *options: str, **extra: Any) -> Output:
        """Run a playbook of the collection, or a file, to its end."""
        with self.begin(name, *options, **extra) as process:
            printed, _nothing = process.communicate(timeout=PATIENCE)
        output = Output(printed)
        output.status = process.returncode
        assert "Traceback" not in output
        assert "DEPRECATION" not in output
        return output

    @contextlib.contextmanager
    def begin(self, name: str, *options: str, **extra: Any) -> Iterator[subprocess.Popen[str]]:
        """Run a playbook, and end it and all that it has started when the block is left."""
        playbook = name if name.endswith(".json") else f"kvm.hotplug.{name}"
        command = [sys.executable, "-m", "ansible", "playbook", playbook]
        environment = {
            **os.environ,
            **self.environment,
            **python_path(self.environment),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_DEPRECATION_WARNINGS": "1",
        }
        process = subprocess.Popen(
            [*command, "--inventory", str(self.inventory), "--extra-vars", json.dumps(extra), *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            # Its workers and modules are in its group, which has its id for as long as it is not waited for.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
