# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the event source in a process of its own, in the same way as ansible-rulebook, and receive its events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.daemon import Daemon

from .modules import COLLECTIONS, PATIENCE, interpreter

PLUGIN = COLLECTIONS / "ansible_collections/kvm/hotplug/extensions/eda/plugins/event_source/guests.py"
RUNNER = Path(__file__).with_name("run_event_source.py")

Event = Mapping[str, Any]


class EventSource:
    """The event source while the ``with`` block lasts: its ``events`` so far, and ``errors``, what it logged.

    With guests of a ``client`` of a libvirtd, its Python is the system's own, with its packages.
    """

    def __init__(self, *guests: Mapping[str, Any], client: Daemon | None = None, **options: Any) -> None:
        self.events: list[Event] = []
        self.errors = ""
        self._changed = threading.Condition()
        self._args = {"guests": list(guests), **options}
        python, libraries = interpreter(client, None)
        # The plugin must find its collection without the help of the environment.
        outside = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._command = ([python, str(RUNNER), str(PLUGIN)], {**outside, **libraries})

    def __enter__(self) -> EventSource:
        command, environment = self._command
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe, stderr=pipe)
        assert self._process.stdin is not None
        json.dump(self._args, self._process.stdin)
        self._process.stdin.close()
        self._readers = [threading.Thread(target=read) for read in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._join()

    def wait(self, *kinds: str, guest: str | None = None, since: int = 0) -> Event:
        """Wait for the next event of one of these kinds at index ``since`` or later, and return it."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                for event in self.events[since:]:
                    if event["kind"] in kinds and guest in (None, event["guest"]):
                        return event
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"no event {kinds} but {self.events[since:]}; {self.errors}")

    def kinds(self, *left_out: str) -> Sequence[str]:
        """Return the kinds of all events so far, except these."""
        return [event["kind"] for event in self.events if event["kind"] not in left_out]

    def end(self) -> int:
        """Cancel the source as ansible-rulebook does at its end, and return the status of its process."""
        self._process.send_signal(signal.SIGTERM)
        return self.status()

    def status(self) -> int:
        """Wait until the process has ended by itself."""
        status = self._process.wait(PATIENCE)
        self._join()
        return status

    def _join(self) -> None:
        self._process.wait()
        for reader in self._readers:
            reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.events.append(json.loads(line))
                self._changed.notify_all()
        self._process.stdout.close()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self.errors = self._process.stderr.read()
        self._process.stderr.close()
