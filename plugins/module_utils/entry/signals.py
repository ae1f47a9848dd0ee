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
    """Run ``work`` in an event loop; a signal ends what it awaits by its ``Interruption``. Raises ``Interrupted``.

    Other signals have no effect: the process ends by itself, once it has printed what was done.
    """

    async def watched() -> Result:
        interruption = Interruption()
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, interruption.request, number.name)
        try:
            return await work(interruption)
        finally:
            for number in ENDING:
                loop.remove_signal_handler(number)
                signal.signal(number, _too_late)

    try:
        return asyncio.run(watched())
    except KeyboardInterrupt:
        # Before the handlers were installed.
        raise Interrupted(signal.SIGINT.name) from None


def _too_late(_number: int, _frame: object) -> None:
    """Let the process print its result."""
