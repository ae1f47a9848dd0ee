# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A short version of `make endurance`: some rounds of each kind, with the same random numbers in each run."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from endurance.campaign import Counts, Part, Record, carry_out, over_libvirt, over_qmp

from lab.software import releases

SHORT = Counts(kills=10, playbooks=2, races=4, faults=1)


def holds(parts: AbstractContextManager[list[Part]]) -> None:
    seed = os.environ.get("SEED", "short")
    print(f"SEED={seed}")
    record = Record()
    with parts as found:
        carry_out(found, seed, record)
    assert not record.failures, "\n".join(record.failures)
    assert sum(record.done.values()) == sum(part.rounds for part in found)


@pytest.mark.timeout(600)
def test_disturbed_runs_over_qmp_leave_nothing_and_the_next_converges(tmp_path: Path) -> None:
    holds(over_qmp(tmp_path, SHORT))


@pytest.mark.timeout(600)
def test_disturbed_runs_over_libvirt_leave_nothing_and_the_next_converges(tmp_path: Path) -> None:
    holds(over_libvirt(tmp_path, SHORT, releases()[-1]))
