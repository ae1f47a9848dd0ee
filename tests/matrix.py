# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the tests of hotplug with each QEMU and each libvirt that the laboratory has: matrix.py [pytest's arguments]...

Prints a table in Markdown: a row for each QEMU, a column for each libvirt.
"""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from lab import binaries, kvm, packages
from lab.software import software

ROOT = Path(__file__).absolute().parents[1]
RELEASES = (packages.DISTRIBUTION, packages.BACKPORTS, packages.NEWEST)
# Tests of plugs, unplugs and everything that may go wrong with them, with QEMU alone and through libvirt.
BY_QMP = ("test_vcpu_plug.py", "test_vcpu_failures.py", "test_vcpu_config.py", "test_vcpu_agent.py")
BOTH = ("test_ospm_answers.py", "test_ospm_rounds.py")
BY_LIBVIRT = ("test_libvirt_guests.py", "test_libvirt_failures.py", "test_libvirt_fixed_machines.py")


def main(arguments: list[str]) -> int:
    """Print the table and return 0 if all tests passed."""
    libvirts = {release: ".".join(map(str, software(release).version)) for release in RELEASES}
    rows = []
    failed: list[str] = []
    for qemu in RELEASES:
        version = str(binaries.of_release(qemu))
        cells = [run(version, qemu, RELEASES[0], BY_QMP, "not libvirt", arguments, failed)]
        cells += [
            run(f"{version}, libvirt {number}", qemu, release, (*BOTH, *BY_LIBVIRT), "not qmp", arguments, failed)
            for release, number in libvirts.items()
        ]
        rows.append([version, *cells])
    print(f"\n{datetime.date.today():%d %B %Y}. {kvm.summary()}\n")
    for row in [["", "QMP", *(f"libvirt {number}" for number in libvirts.values())], ["---"] * 5, *rows]:
        print("|", " | ".join(row), "|")
    print("", *failed, sep="\n")
    return 1 if failed else 0


def run(
    label: str, qemu: str, libvirt: str, files: tuple[str, ...], chosen: str, arguments: list[str], failed: list[str]
) -> str:
    """Run tests with a QEMU and a libvirt, add the names of those that failed, and return the numbers as a cell."""
    print(f":: {label}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "--quiet", "--timeout", "300", "--dist", "worksteal"),
                *("--numprocesses", "auto", "--maxprocesses", "4", "--junitxml", report, "-k", chosen, *arguments),
                *(f"tests/real/{name}" for name in files),
            ],
            cwd=ROOT,
            env={**os.environ, "KVM_HOTPLUG_QEMU": qemu, "KVM_HOTPLUG_LIBVIRT": libvirt},
            check=False,
        )
        cases = list(ET.parse(report).iter("testcase"))
    outcomes = Counter(outcome(case) for case in cases)
    failed += [f"{label}: {case.get('name')}" for case in cases if outcome(case) == "failed"]
    return ", ".join(f"{outcomes[name]} {name}" for name in ("passed", "failed", "skipped") if outcomes[name])


def outcome(case: ET.Element) -> str:
    """Return what came of a test."""
    kinds = {child.tag for child in case}
    if kinds & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in kinds else "passed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
