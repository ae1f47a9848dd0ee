# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of the module and of playbooks, as processes that can be interrupted, and what each of them must never leave."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from real.support.modules import COLLECTIONS, Result, module_command, python_path, start_module

from lab.daemon import Daemon

# Far more than a run needs that was interrupted or whose peer ended. The time in which its processes could run but got
# no CPU is not counted: at low priority on a loaded machine, that is minutes.
PATIENCE = 60.0
AT_MOST = 900.0
MARK = "KVM_HOTPLUG_ENDURANCE"
VCPU = "kvm.hotplug.vcpu"


class Outcome(NamedTuple):
    """How a run ended: its exit status (negative for a signal), its output, and its result if it printed one."""

    status: int
    out: str
    err: str
    seconds: float
    result: Result | None

    @property
    def stopped_python_itself(self) -> bool:
        """Whether a Ctrl-C ended Python while it started or loaded the module."""
        return not self.out and (self.status == -signal.SIGINT or self.err.startswith("Fatal Python error: init"))

    def check(self, *, startup: bool = False) -> None:
        """Require that nothing was printed that a user must not see.

        With ``startup``, Python's own report of a Ctrl-C is accepted that arrived before the module ran.
        """
        text = self.out + self.err
        unprintable = [char for char in text if not char.isprintable() and char not in "\n\t"]
        assert not unprintable, f"unprintable characters {unprintable[:5]!r} in {text[:2000]!r}"
        if not (startup and self.stopped_python_itself):
            assert "Traceback" not in text, text[-3000:]
        if self.result is not None:
            assert self.result.get("error_code") != "internal", self.result["msg"]


class Started:
    """A run that was started; its processes are recognised by a mark in their environment."""

    def __init__(self, process: subprocess.Popen[str], mark: str, is_module: bool) -> None:
        self.process = process
        self._mark = f"{MARK}={mark}".encode()
        self._is_module = is_module
        self._began = time.monotonic()

    def send(self, number: int, group: bool = False) -> None:
        """Send a signal to the process that was started, or to all of its processes."""
        if not group:
            self.process.send_signal(number)
            return
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def processes(self) -> list[int]:
        """The ids of its processes that run."""
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and self._mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def _output(self) -> tuple[str, str]:
        """Wait until the process that was started has ended, and return what it printed; raises ``TimeoutExpired``."""
        waiting: dict[int, float] = {}
        while True:
            try:
                return self.process.communicate(timeout=1)
            except subprocess.TimeoutExpired:
                waiting.update((pid, _waiting_for_cpu(pid)) for pid in self.processes())
                seconds = time.monotonic() - self._began
                if seconds - sum(waiting.values()) > PATIENCE or seconds > AT_MOST:
                    raise

    def end(self) -> Outcome:
        """Wait until it and all that it has started have ended; a run that hangs fails."""
        try:
            out, err = self._output()
            seconds = time.monotonic() - self._began
            deadline = time.monotonic() + PATIENCE
            while left := self.processes():
                assert time.monotonic() < deadline, f"the processes {left} are left"
                time.sleep(0.02)
        except (subprocess.TimeoutExpired, AssertionError) as error:
            self.send(signal.SIGKILL, group=True)
            self.process.communicate()
            raise AssertionError(f"the run hangs: {error}") from None
        result = Result(json.loads(out)) if self._is_module and out else None
        if result is not None:
            result.warnings = " ".join(json.dumps(warning) for warning in result.get("warnings", []))
        return Outcome(self.process.returncode, out, err, seconds, result)


def _waiting_for_cpu(pid: int) -> float:
    """Return the seconds in which the first thread of a process could run and had no CPU, 0 once it has ended."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except OSError:
        return 0.0


def start(options: Mapping[str, Any], client: Daemon | None = None, wrapper: Sequence[str] = ()) -> Started:
    """Start the module ``vcpu``, by the command ``wrapper`` if there is one."""
    mark = secrets.token_hex(8)
    command, environment = module_command(VCPU, client)
    return Started(start_module(([*wrapper, *command], {**environment, MARK: mark}), **options), mark, True)


def run(options: Mapping[str, Any], client: Daemon | None = None) -> Result:
    """Run the module ``vcpu`` undisturbed."""
    outcome = start(options, client).end()
    outcome.check()
    assert outcome.result is not None, outcome
    return outcome.result


def start_playbook(folder: Path, options: Mapping[str, Any], client: Daemon | None = None) -> Started:
    """Start ``ansible-playbook`` with one task of the module ``vcpu``, on this machine."""
    playbook = folder / "play.json"
    tasks = [{"name": "Bring the guest to its desired state", VCPU: dict(options)}]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    playbook.write_text(json.dumps([play]), encoding="utf-8")
    libraries = {} if client is None else dict(client.environment)
    mark = secrets.token_hex(8)
    process = subprocess.Popen(
        [sys.executable, "-m", "ansible", "playbook", "--inventory", "localhost,", str(playbook)],
        env={
            **os.environ,
            **libraries,
            **python_path(libraries),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable if client is None else client.python,
            # A module that is killed leaves what Ansible has unpacked there.
            "TMPDIR": str(folder),
            MARK: mark,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return Started(process, mark, False)
