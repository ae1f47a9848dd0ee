# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests for the tests: booted on demand, and ended whatever comes of the test."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from lab import binaries
from lab.guest import Guest

Boot = Callable[..., Guest]

needs_ppc64 = pytest.mark.skipif(not binaries.qemus("ppc64"), reason="there is no QEMU for ppc64 guests here")

# vCPUs 0-3 on node 0, 4-7 on node 1, one to a core; the guest boots with 0 and 1.
TWO_NODES: dict[str, Any] = {
    "smp": "2,sockets=4,cores=2,threads=1,maxcpus=8",
    "numa": [{"sockets": [0, 1]}, {"sockets": [2, 3]}],
}


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boot]:
    """Start guests by the options of ``lab.guest.Guest``; one that can boot is waited for, unless ``ready=False``."""
    numbers = itertools.count()
    with contextlib.ExitStack() as guests:

        def start(smp: str, ready: bool = True, **options: Any) -> Guest:
            guest = guests.enter_context(Guest(tmp_path / str(next(numbers)), smp=smp, **options))
            if ready and options.get("boot", True) and not options.get("paused"):
                guest.wait_ready()
            return guest

        yield start
