# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the collection's modules as users do, as tasks of Ansible."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab.daemon import Daemon

from .modules import COLLECTIONS, PATIENCE, Result, Vcpu, interpreter, python_path


def run_task(
    module: str, check: bool = False, client: Daemon | None = None, packages: Path | None = None, **options: Any
) -> Result:
    """Run one task on this machine as `modules.run_module` runs a module."""
    python, libraries = interpreter(client, packages)
    command = [
        *(sys.executable, "-m", "ansible", "adhoc", "localhost", "--inventory", "localhost,", "--connection", "local"),
        *("--extra-vars", json.dumps({"ansible_python_interpreter": python}), "--diff"),
        *("--module-name", module, "--args", json.dumps(options), *(["--check"] if check else [])),
    ]
    environment = {
        **os.environ,
        **libraries,
        **python_path(libraries),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    found = re.search(r"^localhost \| \S+ => (\{.*^\})$", done.stdout, re.MULTILINE | re.DOTALL)
    if not found:
        raise AssertionError(f"the task returned nothing:\n{done.stdout}\n{done.stderr}")
    result = Result(json.loads(found.group(1)))
    result.diff = "".join(re.findall(r"^[+-]vCPU.*\n", done.stdout, re.MULTILINE))
    result.warnings = " ".join((done.stdout[: found.start()] + done.stderr).split())
    assert "Traceback" not in done.stdout + done.stderr
    return result


class VcpuTask(Vcpu):
    """A guest's ``kvm.hotplug.vcpu`` as a task."""

    run = staticmethod(run_task)
