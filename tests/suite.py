# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run make targets one after the other, go on after a failure, and close with a summary: suite.py TARGET[+TARGET]...

Targets that are joined by + run at the same time. The output of the second is printed when the first has ended.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from dataclasses import dataclass

from side_by_side import Output

from lab import kvm

PYTEST_CLOSING = re.compile(r"=+ .*\b(passed|failed|errors?|skipped|no tests ran)\b.* in [\d.]+s.* =+")


@dataclass
class Stage:
    """What came of one target."""

    target: str
    passed: bool = False
    seconds: float = 0
    closing: str | None = None


def run(targets: list[str]) -> list[Stage]:
    """Run targets at the same time, printing their output one after the other, of the first as it comes."""
    stages = [Stage(target) for target in targets]
    outputs = [Output() for _stage in stages]
    threads = [threading.Thread(target=_run, args=pair) for pair in zip(stages, outputs)]
    for thread in threads:
        thread.start()
    for stage, output in zip(stages, outputs):
        print(f"\n:: make {stage.target}", flush=True)
        for line in output.lines():
            if PYTEST_CLOSING.fullmatch(line.rstrip()):
                stage.closing = line.rstrip()
    for thread in threads:
        thread.join()
    return stages


def _run(stage: Stage, output: Output) -> None:
    started = time.monotonic()
    try:
        stage.passed = output.wait(output.start(["make", stage.target])) == 0
        stage.seconds = time.monotonic() - started
    finally:
        output.close()


def main(groups: list[str]) -> int:
    """Run the targets and return whether all of them passed."""
    print(f":: {kvm.summary()}", flush=True)
    began = time.monotonic()
    stages = [stage for group in groups for stage in run(group.split("+"))]
    print("\n:: summary")
    print(kvm.summary())
    for stage in stages:
        print(f"{stage.target:<10}{'passed' if stage.passed else 'FAILED':<10}{stage.seconds:6.0f} s")
    print(f"{'all':<20}{time.monotonic() - began:6.0f} s")
    for stage in stages:
        if stage.closing:
            print(stage.closing)
    return 0 if all(stage.passed for stage in stages) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
