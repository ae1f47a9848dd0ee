# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits with a time limit that always end when the run is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


async def within(seconds: float | None, work: Awaitable[Result]) -> Result:
    """Return the result of ``work``; cancel it and raise ``asyncio.TimeoutError`` after ``seconds``, None for no limit.

    Up to Python 3.11, ``asyncio.wait_for`` loses a cancellation that arrives at the same moment as the result, and a
    run that was to end would go on. Here the cancellation is always raised.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            # Read, so that asyncio does not report it as an exception that was never handled.
            task.exception()
        raise
    if task.cancelled():
        raise asyncio.TimeoutError
    return task.result()
