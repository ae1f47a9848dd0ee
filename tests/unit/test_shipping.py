# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Ansible ships for each module: every file that its imports reach, also those of functions and annotations."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jinja2", reason="only controllers have all of ansible-core")

SHIPPED = Path(__file__).absolute().parents[1] / "shipped.py"
# A module that only inspects needs none of these.
CONVERGENCE = (
    "module_utils/planner/",
    "module_utils/report/diff.py",
    "module_utils/report/results.py",
    "module_utils/request/guards.py",
    "module_utils/request/parse.py",
    "module_utils/request/desired_state.py",
    "module_utils/run/agent_steps.py",
    "module_utils/run/apply.py",
    "module_utils/run/batch.py",
    "module_utils/run/change.py",
    "module_utils/run/checks.py",
    "module_utils/run/convergence.py",
    "module_utils/run/guest.py",
    "module_utils/run/journal.py",
    "module_utils/run/overcommit.py",
    "module_utils/run/placement_steps.py",
    "module_utils/run/planning.py",
)
# Nor the half of each backend that changes a guest.
WRITING = (
    "module_utils/backends/domain_xml/atomic_file.py",
    "module_utils/backends/domain_xml/config.py",
    "module_utils/backends/domain_xml/edit.py",
    "module_utils/backends/domain_xml/locked_file.py",
    "module_utils/backends/domain_xml/transition.py",
    "module_utils/backends/domain_xml/validation.py",
    "module_utils/backends/host/bandwidth.py",
    "module_utils/backends/host/placer.py",
    "module_utils/backends/libvirt/config.py",
    "module_utils/backends/libvirt/config_calls.py",
    "module_utils/backends/libvirt/events.py",
    "module_utils/backends/libvirt/machine.py",
    "module_utils/backends/libvirt/placer.py",
    "module_utils/backends/libvirt/source.py",
    "module_utils/backends/qemu/ejection.py",
    "module_utils/backends/qemu/handshake.py",
    "module_utils/backends/qemu/ost_tracker.py",
    "module_utils/backends/qemu/readiness.py",
    "module_utils/backends/qmp/machine.py",
    "module_utils/backends/qmp/unplug_request.py",
    "module_utils/backends/writers.py",
)
# A module that names its guests in its options finds none; only a batch has options of several guests.
ENUMERATION = ("module_utils/backends/discover.py", "module_utils/backends/readers.py", "module_utils/report/info.py")
BATCH = ("module_utils/request/batch.py", "module_utils/report/batch.py")


@pytest.fixture(scope="module")
def shipped() -> dict[str, dict[str, int]]:
    """Return the files of each module, and their bytes, as ansible-core in a process of its own finds them."""
    done = subprocess.run(
        [sys.executable, SHIPPED, "--json"], check=True, stdout=subprocess.PIPE, text=True, timeout=120
    )
    files: dict[str, dict[str, int]] = json.loads(done.stdout)
    return files


def test_vcpu_info_ships_nothing_that_plans_or_changes(shipped):
    needless = [name for name in shipped["vcpu_info"] if name.startswith((*CONVERGENCE, *WRITING, *BATCH))]
    assert needless == []


@pytest.mark.parametrize(("module", "others"), [("vcpu", (*ENUMERATION, *BATCH)), ("vcpu_batch", ENUMERATION)])
def test_a_module_that_changes_guests_ships_nothing_of_the_others(shipped, module, others):
    assert [name for name in shipped[module] if name.startswith(others)] == []


@pytest.mark.parametrize("module", ["vcpu", "vcpu_batch"])
def test_the_files_that_vcpu_info_must_not_ship_exist(shipped, module):
    missing = [
        prefix for prefix in (*CONVERGENCE, *WRITING) if not any(name.startswith(prefix) for name in shipped[module])
    ]
    assert missing == []


@pytest.mark.parametrize("module", ["vcpu", "vcpu_batch", "vcpu_info"])
def test_a_module_ships_no_other_entry(shipped, module):
    entries = [name for name in shipped[module] if name.startswith(("modules/", "module_utils/entry/"))]
    shared = ["module_utils/entry/compile_once.py", "module_utils/entry/module.py", "module_utils/entry/signals.py"]
    assert entries == [*shared, f"module_utils/entry/{module}.py", f"modules/{module}.py"]
