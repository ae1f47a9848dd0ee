# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module: with arguments as Ansible passes them, or in a separate process whose cost is measured."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

import pytest
from ansible.module_utils import basic

RunModule = Callable[..., "dict[str, Any]"]

_MAIN = (
    "import importlib, json, sys\n"
    "from ansible_collections.kvm.hotplug.tests.unit.support.modules import module_args\n"
    "module, options = json.loads(sys.argv[1])\n"
    "main = importlib.import_module(f'ansible_collections.kvm.hotplug.plugins.modules.{module}').main\n"
    "with module_args(options):\n"
    "    main()\n"
)


class Cost(NamedTuple):
    """What a module returned, and what its process took: seconds of CPU, and memory at most."""

    result: dict[str, Any]
    seconds: float
    mebibytes: float


@contextlib.contextmanager
def module_args(args: dict[str, Any]) -> Iterator[None]:
    """What ``ansible.module_utils.testing`` does, where there is one: since ansible-core 2.19."""
    try:
        from ansible.module_utils.testing import patch_module_args
    except ImportError:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode())
            yield
    else:
        with patch_module_args(args):
            yield


def start_module(module: str, **options: Any) -> subprocess.Popen[str]:
    """Start a module in a separate process, whose output the caller reads."""
    return subprocess.Popen(
        [sys.executable, "-c", _MAIN, json.dumps([module, options])],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def cost_of(module: str, **options: Any) -> Cost:
    """Run a module to its end."""
    with start_module(module, **options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert err == ""
    return Cost(json.loads(out), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
