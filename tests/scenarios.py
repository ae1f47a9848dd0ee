# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run scenarios of extensions/molecule, all or by name, and leave no guest behind: scenarios.py [SCENARIO...].

Two run at the same time. Each has its own folder, guests and libvirtd, and is printed when those before it have ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from side_by_side import Output

ROOT = Path(__file__).absolute().parents[1]
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("extensions/molecule/*/molecule.yml"))
AT_ONCE = 2
COLOURS = {"PY_COLORS": "1", "ANSIBLE_FORCE_COLOR": "1"}


class Scenario:
    """One scenario, which runs in a thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.output = Output()
        self._interrupted = False
        self._test: subprocess.Popen[str] | None = None

    def passes(self) -> bool:
        """Run it; molecule ends its guests when it fails, but not when it is interrupted itself."""
        try:
            if self._interrupted:
                return False
            self._test = self._molecule("test")
            if self._interrupted:
                self.interrupt()
            passed = self.output.wait(self._test) == 0
            if not passed:
                self.output.wait(self._molecule("destroy"))
            return passed
        finally:
            self.output.close()

    def interrupt(self) -> None:
        """End it if it runs, and do not begin it if it does not."""
        self._interrupted = True
        if self._test and self._test.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._test.pid, signal.SIGTERM)

    def _molecule(self, command: str) -> subprocess.Popen[str]:
        """Start one of molecule's commands in its own session: this process receives an interrupt first."""
        words = [sys.executable, "-m", "molecule", command, "--no-command-borders", "--scenario-name", self.name]
        environment = {**os.environ, **(COLOURS if sys.stdout.isatty() else {})}
        return self.output.start(words, cwd=ROOT, env=environment, start_new_session=True)


def main(names: list[str]) -> int:
    """Return 0 when all scenarios passed; a failure does not keep the next ones from running."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    scenarios = [Scenario(name) for name in names]
    # Leaving the block waits for those that run, which end their guests when they were interrupted.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            passed = [pool.submit(scenario.passes) for scenario in scenarios]
            for scenario in scenarios:
                for _line in scenario.output.lines():
                    pass
        except BaseException:
            for scenario in scenarios:
                scenario.interrupt()
            raise
    failed = [scenario.name for scenario, future in zip(scenarios, passed) if not future.result()]
    print(f"molecule scenarios: {len(scenarios) - len(failed)} passed, {len(failed)} failed", *failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or SCENARIOS))
