# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of this host's threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest


@pytest.fixture
def thread() -> Iterator[int]:
    """A thread of this process that waits."""
    ids: list[int] = []
    begun, end = threading.Event(), threading.Event()

    def wait() -> None:
        ids.append(threading.get_native_id())
        begun.set()
        end.wait()

    waiting = threading.Thread(target=wait)
    waiting.start()
    begun.wait()
    yield ids[0]
    end.set()
    waiting.join()
