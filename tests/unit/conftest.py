# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures: a scripted peer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import HealthCheck, settings

from .support.peer import Peer, Talk

# The duration of an example depends on the machine and its load, not on the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Callable[..., Peer]]:
    """Start a peer that follows these scripts; it ends with the test."""
    with contextlib.ExitStack() as stack:
        number = 0

        def start(*talks: Talk) -> Peer:
            nonlocal number
            number += 1
            return stack.enter_context(Peer(*talks, path=tmp_path / f"{number}.sock"))

        yield start
