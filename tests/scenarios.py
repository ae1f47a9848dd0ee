# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run scenarios of extensions/molecule, all or by name, and leave no guest behind: scenarios.py [SCENARIO...]."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("extensions/molecule/*/molecule.yml"))


def main(scenarios: list[str]) -> int:
    """Return 0 when all scenarios passed; a failure does not keep the next ones from running."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    failed = [scenario for scenario in scenarios if not passes(scenario)]
    print(f"molecule scenarios: {len(scenarios) - len(failed)} passed, {len(failed)} failed", *failed)
    return 1 if failed else 0


def passes(scenario: str) -> bool:
    """Run one scenario; molecule ends its guests when it fails, but not when it is interrupted itself."""
    passed = False
    try:
        passed = molecule("test", scenario)
    finally:
        if not passed:
            molecule("destroy", scenario)
    return passed


def molecule(command: str, scenario: str) -> bool:
    """Run one of molecule's commands in its own session: this process receives an interrupt first and forwards it."""
    words = [sys.executable, "-m", "molecule", command, "--no-command-borders", "--scenario-name", scenario]
    with subprocess.Popen(words, cwd=ROOT, start_new_session=True) as process:
        try:
            return process.wait() == 0
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or SCENARIOS))
