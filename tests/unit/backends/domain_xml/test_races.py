# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Concurrent processes on one file: no change is lost, and a killed process leaves a complete file."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain

from ...support.domains import derive_boot

PREAMBLE = """
import asyncio, sys
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import lay_out
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile

def derive_boot(domain):
    return lay_out(domain, "never", None, 1.0)
"""

# Enables its own vCPUs one by one, each in a run of its own.
ENABLE_MINE = (
    PREAMBLE
    + """
async def enable(vcpu):
    file = XmlFile(sys.argv[1], 60, derive_boot)
    enabled = (await file.observe()).state.enabled
    await file.write(enabled | {vcpu})

print("ready", flush=True)
sys.stdin.readline()
for vcpu in sys.argv[2].split(","):
    asyncio.run(enable(int(vcpu)))
"""
)

# Writes one of two states after the other, until it is killed.
FLIP = (
    PREAMBLE
    + """
async def flip():
    file = XmlFile(sys.argv[1], 60, derive_boot, backup=True)
    print("ready", flush=True)
    while True:
        for enabled in ({0}, set(range(0, 512, 2))):
            await file.write(frozenset(enabled))
            await file.observe()

asyncio.run(flip())
"""
)


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> int:
    process.communicate()
    return process.returncode


def test_runs_at_the_same_time_lose_no_change(tmp_path: Path) -> None:
    path = tmp_path / "web.xml"
    path.write_text("<domain>\n  <vcpu current='1'>64</vcpu>\n</domain>\n", encoding="utf-8")
    shares = [range(first, 64, 3) for first in (1, 2, 3)]
    runs = [start(ENABLE_MINE, str(path), ",".join(str(vcpu) for vcpu in share)) for share in shares]
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    assert [end(run) for run in runs] == [0, 0, 0]
    assert read_domain(path.read_bytes()).enabled == frozenset(range(64))
    assert os.listdir(tmp_path) == ["web.xml"]


@pytest.mark.parametrize("seed", range(8))
def test_a_run_that_is_killed_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "web.xml"
    path.write_text("<domain>\n  <vcpu current='1'>512</vcpu>\n</domain>\n", encoding="utf-8")
    run = start(FLIP, str(path))
    time.sleep(random.Random(seed).uniform(0.05, 0.25))
    run.kill()
    assert end(run) == -9
    enabled = read_domain(path.read_bytes()).enabled
    assert enabled in ({0}, frozenset(range(0, 512, 2)))
    for copy in tmp_path.glob("web.xml.*~"):
        assert read_domain(copy.read_bytes()).enabled == {0}

    async def write() -> None:
        await XmlFile(str(path), 1, derive_boot).write(frozenset({0, 3}))

    asyncio.run(write())
    assert read_domain(path.read_bytes()).enabled == {0, 3}
    assert [name for name in os.listdir(tmp_path) if "kvm-hotplug" in name] == []
