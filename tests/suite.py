# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run make targets one after the other, go on after a failure, and close with a summary: suite.py TARGET..."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass

from lab import kvm

PYTEST_CLOSING = re.compile(r"=+ .*\b(passed|failed|errors?|skipped|no tests ran)\b.* in [\d.]+s.* =+")


@dataclass(frozen=True)
class Stage:
    """What came of one target."""

    target: str
    passed: bool
    seconds: float
    closing: str | None


def run(target: str) -> Stage:
    """Run one target, showing its output as it comes."""
    print(f"\n:: make {target}", flush=True)
    started = time.monotonic()
    closing = None
    with subprocess.Popen(["make", target], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if PYTEST_CLOSING.fullmatch(line.rstrip()):
                closing = line.rstrip()
    return Stage(target, process.returncode == 0, time.monotonic() - started, closing)


def main(targets: list[str]) -> int:
    """Run the targets and return whether all of them passed."""
    print(f":: {kvm.summary()}", flush=True)
    stages = [run(target) for target in targets]
    print("\n:: summary")
    print(kvm.summary())
    for stage in stages:
        print(f"{stage.target:<10}{'passed' if stage.passed else 'FAILED':<10}{stage.seconds:6.0f} s")
    for stage in stages:
        if stage.closing:
            print(stage.closing)
    return 0 if all(stage.passed for stage in stages) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
