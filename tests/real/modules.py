# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the collection's modules without Ansible, for tests with many runs, each of which takes less time."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.daemon import Daemon

from .tasks import COLLECTIONS, PATIENCE, Result, Vcpu

PACKAGE = "ansible_collections.kvm.hotplug.plugins.modules"


@functools.cache
def _ansible() -> Path:
    """A folder that has Ansible and nothing else, so that another Python can import it."""
    spec = importlib.util.find_spec("ansible")
    assert spec is not None
    assert spec.origin is not None
    folder = COLLECTIONS.parent / "ansible-alone"
    folder.mkdir(exist_ok=True)
    link = folder / "ansible"
    target = Path(spec.origin).parent
    if not link.exists() or link.resolve() != target.resolve():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            new = Path(scratch, "ansible")
            new.symlink_to(target)
            new.rename(link)
    return folder


def run_module(module: str, check: bool = False, client: Daemon | None = None, **options: Any) -> Result:
    """Run a module as `tasks.run_task` does, and return its result."""
    python, libraries = (sys.executable, {}) if client is None else (client.python, client.environment)
    paths = [str(COLLECTIONS), str(_ansible()), *filter(None, [libraries.get("PYTHONPATH")])]
    done = subprocess.run(
        [python, "-m", f"{PACKAGE}.{module.rpartition('.')[2]}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check, "_ansible_diff": True}}),
        env={**os.environ, **libraries, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert done.stdout, done.stderr
    result = Result(json.loads(done.stdout))
    result.diff = "".join(_lines(result.get("diff", [])))
    result.warnings = " ".join(json.dumps(warning) for warning in result.get("warnings", []))
    return result


def _lines(diff: dict[str, str] | list[dict[str, str]]) -> Iterator[str]:
    for part in [diff] if isinstance(diff, dict) else diff:
        lines = difflib.unified_diff(part["before"].splitlines(keepends=True), part["after"].splitlines(keepends=True))
        yield from (line for line in lines if line.startswith(("+vCPU", "-vCPU")))


class VcpuModule(Vcpu):
    """`tasks.Vcpu`, whose module runs alone."""

    run = staticmethod(run_module)
