# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The endurance campaign: disturbs runs at random moments, judges each from outside, and prints a table.

Environment variables: SEED, KILLS, PLAYBOOKS, RACES, FAULTS (rounds of each kind), FUZZ (inputs), and ROUND, the one
round to play, as a failure names it.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from conftest import ROOT, collections_path

sys.path.insert(0, str(collections_path()))

from endurance.campaign import Counts, Record, carry_out, over_libvirt, over_qmp
from lab import kvm
from lab.software import releases

DEFAULTS = {"KILLS": 240, "PLAYBOOKS": 60, "RACES": 100, "FAULTS": 10, "FUZZ": 20000}


def main() -> int:
    """Carry out the campaign; return 0 if all held."""
    seed = os.environ.get("SEED") or secrets.token_hex(4)
    wanted = {name: int(os.environ.get(name) or default) for name, default in DEFAULTS.items()}
    counts = Counts(wanted["KILLS"], wanted["PLAYBOOKS"], wanted["RACES"], wanted["FAULTS"])
    part, _slash, number = os.environ.get("ROUND", "").rpartition("/")
    only = (part, int(number)) if part else None
    print(f"SEED={seed}", kvm.summary(), sep="\n", flush=True)
    record = Record()
    with tempfile.TemporaryDirectory() as folder:
        with over_qmp(Path(folder, "qmp"), counts) as parts:
            carry_out(parts, seed, record, only)
        with over_libvirt(Path(folder), counts, releases()[-1]) as parts:
            carry_out(parts, seed, record, only)
    fuzzed = True if only or not wanted["FUZZ"] else _fuzz(seed, wanted["FUZZ"])
    print(f"\n| rounds over {record.seconds:.0f} s | what | held |\n| --- | --- | --- |")
    for (name, what), count in sorted(record.done.items()):
        print(f"| {name} | {what} | {count} |")
    print(f"\n{len(record.failures)} rounds failed", *record.failures, sep="\n")
    return 0 if fuzzed and not record.failures else 1


def _fuzz(seed: str, inputs: int) -> bool:
    """Run the fuzz tests with so many inputs."""
    number = int.from_bytes(seed.encode()[-6:], "big")
    command = [sys.executable, "-m", "pytest", "-q", f"--hypothesis-seed={number}", "--durations=9", "tests/unit/fuzz"]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "FUZZ": str(inputs)}, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
