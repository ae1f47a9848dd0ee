# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small file can have a maximum of thousands of vCPUs: the time of a run grows with it, not with its square."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import DirectSource
from ansible_collections.kvm.hotplug.plugins.module_utils.report.results import convergence_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import (
    CountTarget,
    DesiredState,
    NodeTarget,
    VcpuTarget,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import GuestRef
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.inspection import Inspection
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import inspect

from ..support.domains import derive_boot
from ..support.queries import converge

MAXIMUM = 16384
SECONDS = 25.0


@pytest.fixture
def source(tmp_path: Path) -> DirectSource:
    path = tmp_path / "largest.xml"
    path.write_text(
        f"<domain><memory unit='GiB'>2</memory><vcpu current='2'>{MAXIMUM}</vcpu>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
        f"<cpu><numa><cell id='0' cpus='0-{MAXIMUM // 2 - 1}' memory='1' unit='GiB'/>"
        f"<cell id='1' cpus='{MAXIMUM // 2}-{MAXIMUM - 1}' memory='1' unit='GiB'/></numa></cpu></domain>",
        encoding="utf-8",
    )
    return DirectSource(config=XmlFile(str(path), 10.0, derive_boot))


@pytest.mark.parametrize(
    "desired",
    [
        CountTarget(10000, spread=True),
        CountTarget(10000, spread=False),
        NodeTarget({1: 8000}),
        VcpuTarget(frozenset(range(0, MAXIMUM, 2)), frozenset()),
    ],
    ids=["spread", "packed", "nodes", "vcpus"],
)
def test_a_request_for_thousands_of_vcpus_is_fast(source: DirectSource, desired: DesiredState) -> None:
    started = time.process_time()
    result = converge(source, Request(desired))
    report = convergence_report(result)
    assert time.process_time() - started < SECONDS
    assert result.error is None
    assert len(report["steps"]) > 7000


def test_observations_are_not_formatted_unnecessarily(source: DirectSource) -> None:
    """Asyncio formats what its main task returns, and that would be each of the vCPUs."""
    seen = asyncio.run(inspect(source))[0]
    assert len(repr(Inspection(GuestRef(name="largest"), seen))) < 200
