# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that end a module, such as Ctrl-C: it ends with a result instead of a traceback."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable
from typing import Callable, TypeVar

from ansible_collections.kvm.hotplug.plugins.module_utils.run.interruption import Interrupted, Interruption

Result = TypeVar("Result")

ENDING = (signal.SIGINT, signal.SIGTERM)


def run_until_signal(work: Callable[[Interruption], Awaitable[Result]]) -> Result:
    """Run ``work`` in an event loop until it ends, or ends because of a signal; raises ``Interrupted``."""

    async def watched() -> Result:
        interruption = Interruption()
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, interruption.request, number.name)
        return await interruption.until(work(interruption))

    try:
        return asyncio.run(watched())
    except KeyboardInterrupt:
        # Before the handlers were installed, or after they were removed.
        raise Interrupted(signal.SIGINT.name) from None
