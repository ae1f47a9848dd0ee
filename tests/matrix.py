# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the tests of hotplug with each QEMU and each libvirt that the laboratory has: matrix.py [pytest's arguments]...

Prints a table in Markdown: a row for each QEMU, a column for QMP and for each libvirt. At the end it runs the tests of
Linux guests of other architectures.
"""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lab import binaries, kvm, packages
from lab.software import software

ROOT = Path(__file__).absolute().parents[1]
RELEASES = (packages.DISTRIBUTION, packages.BACKPORTS, packages.NEWEST)
# Plugs, unplugs and everything that may go wrong with them: on OSPM guests, and some on Linux guests.
OSPM = ("test_ospm_answers.py", "test_ospm_rounds.py", "test_kvm_replug.py")
BY_QMP = (*OSPM, "test_ospm_latched.py", "test_ospm_states.py", "test_vcpu_plug.py")
BY_LIBVIRT = (*OSPM, "test_libvirt_guests.py")
OF_NEWEST_LIBVIRT = ("test_newest_libvirt.py",)
ARCHITECTURES = ("test_architectures.py",)
# Linux under TCG sometimes stops replying, see the Makefile.
STALLED = (
    *("--only-rerun", "the guest's shell did not answer"),
    *("--only-rerun", "the guest agent has not replied"),
    *("--only-rerun", "the guest is not ready after"),
)


@dataclass
class Cell:
    """The tests of one QEMU over QMP, or over one libvirt; `outcomes` of each test by its name."""

    label: str
    qemu: str
    libvirt: str | None
    files: tuple[str, ...]
    outcomes: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def run(self, arguments: list[str]) -> None:
        """Run the tests; pytest's own output is shown."""
        print(f":: {self.label}", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.xml")
            subprocess.run(
                [
                    *(sys.executable, "-m", "pytest", "--quiet", "--timeout", "300", "--dist", "worksteal"),
                    *("--numprocesses", "4", "--junitxml", report),
                    *("--reruns", "1", *STALLED),
                    *("-k", "libvirt" if self.libvirt else "not libvirt", *arguments),
                    *(f"tests/real/{name}" for name in self.files),
                ],
                cwd=ROOT,
                env={
                    **os.environ,
                    "KVM_HOTPLUG_QEMU": self.qemu,
                    "KVM_HOTPLUG_LIBVIRT": self.libvirt or packages.DISTRIBUTION,
                },
                check=False,
            )
            self.outcomes = {case.get("name", ""): outcome(case) for case in ET.parse(report).iter("testcase")}
        self.seconds = time.monotonic() - began

    def __str__(self) -> str:
        counts = Counter(self.outcomes.values())
        return ", ".join(f"{counts[name]} {name}" for name in ("passed", "failed", "skipped") if counts[name]) or "-"


def main(arguments: list[str]) -> int:
    """Print the table and return 0 if all tests passed."""
    libvirts = {release: ".".join(map(str, software(release).version)) for release in RELEASES}
    rows: list[list[Cell]] = []
    for qemu in RELEASES:
        version = str(binaries.of_release(qemu))
        over_libvirt = [
            Cell(f"{version}, libvirt {number}", qemu, release, files_of(release))
            for release, number in libvirts.items()
        ]
        rows.append([Cell(f"{version}, QMP", qemu, None, BY_QMP), *over_libvirt])
    others = Cell("other architectures", packages.NEWEST, None, ARCHITECTURES)
    # The newest ones first: no other target runs these.
    cells = [cell for row in reversed(rows) for cell in (row[0], *reversed(row[1:]))]
    for cell in (*cells, others):
        cell.run(arguments)
        print(f":: {cell.label}: {cell} in {cell.seconds:.0f} s", flush=True)
    print(f"\n{datetime.date.today():%d %B %Y}. {kvm.summary()}\n")
    table = [["", "QMP", *(f"libvirt {number}" for number in libvirts.values())], ["---"] * 5]
    table += [[str(binaries.of_release(row[0].qemu)), *map(str, row)] for row in rows]
    print(*(f"| {' | '.join(row)} |" for row in table), sep="\n")
    print(f"\n{others.label}: {others}")
    failed = [
        f"{cell.label}: {name}" for cell in (*cells, others) for name, came in cell.outcomes.items() if came == "failed"
    ]
    print("", *failed, sep="\n")
    return 1 if failed or not all(cell.outcomes for cell in (*cells, others)) else 0


def files_of(libvirt: str) -> tuple[str, ...]:
    """Return the tests over the libvirt of a release."""
    return (*BY_LIBVIRT, *(OF_NEWEST_LIBVIRT if libvirt == packages.NEWEST else ()))


def outcome(case: ET.Element) -> str:
    """Return the outcome of a test."""
    kinds = {child.tag for child in case}
    if kinds & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in kinds else "passed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
