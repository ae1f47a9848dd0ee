# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End a run early, on a signal: waits are cancelled, and operations that must not be interrupted are completed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Callable, TypeVar

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONNECTION_LOST, HotplugError

Result = TypeVar("Result")

# A command that does not wait for the guest takes a fraction of that.
COMPLETING_SECONDS = 5.0
# For the observation of the reached state, which stays unknown if a peer hangs.
OBSERVING_SECONDS = 5.0


class Interrupted(HotplugError):
    """A signal ended the run. As after a lost connection, the outcome of the last step may be unknown."""

    def __init__(self, signal: str) -> None:
        super().__init__(
            CONNECTION_LOST,
            f"interrupted by signal {signal}: steps has what was done, and nothing of it was undone; run the "
            "task again, which continues from the present state",
        )
        self.signal = signal


class Interruption:
    """Whether a signal has ended a run; ``error`` is then the error of its guests."""

    def __init__(self) -> None:
        self.error: Interrupted | None = None
        self._requested = 0.0
        self._task: asyncio.Task[Any] | None = None

    def request(self, signal: str) -> None:
        """Cancel the run; further requests while it ends have no effect."""
        now = time.monotonic()
        if self.error is not None and now - self._requested < COMPLETING_SECONDS + OBSERVING_SECONDS:
            return
        self.error, self._requested = self.error or Interrupted(signal), now
        if self._task is not None:
            self._task.cancel()

    async def until(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Begin ``work`` and await it; raises ``Interrupted`` if it did not end by itself.

        A signal after that has no effect, so that what has ended is reported.
        """
        if self.error is not None:
            raise self.error
        self._task = asyncio.ensure_future(_begun(work))
        try:
            result: Result = await self._task
        except asyncio.CancelledError:
            if self.error is None:
                raise
            raise self.error from None
        finally:
            self._task = None
        return result


async def completed(work: Awaitable[Result]) -> Result:
    """Await ``work`` to its end even if the caller is cancelled; the cancellation follows at the caller's next await.

    Work that takes more than ``COMPLETING_SECONDS`` from then on is cancelled too.
    """
    task = asyncio.ensure_future(_awaited(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=COMPLETING_SECONDS)
        current = asyncio.current_task()
        if not task.done() or current is None:
            task.cancel()
            raise
        current.cancel()
        return task.result()


async def _awaited(work: Awaitable[Result]) -> Result:
    return await work


async def _begun(work: Callable[[], Awaitable[Result]]) -> Result:
    return await work()
