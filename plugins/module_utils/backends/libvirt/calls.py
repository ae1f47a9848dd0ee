# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A blocking call of the libvirt library, in a thread that has no other call meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from queue import SimpleQueue
from typing import Any, Callable, Generic, TypeVar

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError

Result = TypeVar("Result")


class _CallThread(threading.Thread):
    """Does one work after the other, and is idle in between: to start a thread for each call takes longer."""

    def __init__(self) -> None:
        super().__init__(name="libvirt", daemon=True)
        self.works: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.start()

    def run(self) -> None:
        while True:
            self.works.get()()
            _idle.append(self)


_idle: list[_CallThread] = []


class BlockingCall(Generic[Result]):
    """A call in a daemon thread, so that a libvirt daemon that hangs does not block the task's end."""

    def __init__(self, function: Callable[..., Result], *arguments: Any) -> None:
        loop = asyncio.get_running_loop()

        def work() -> None:
            result: Any = None
            failure: Exception | None = None
            try:
                result = function(*arguments)
            except Exception as error:  # noqa: BLE001 - every error is passed to the caller
                failure = _as_refusal(error)
            self._has_returned = True
            # After the loop is closed, no caller waits for this.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._settle, result, failure)

        self._answer: asyncio.Future[Result] = loop.create_future()
        self._has_returned = False
        self._thread = _idle.pop() if _idle else _CallThread()
        self._thread.works.put(work)

    def _settle(self, result: Any, failure: Exception | None) -> None:
        if self._answer.done():
            return
        if failure is None:
            self._answer.set_result(result)
        else:
            self._answer.set_exception(failure)

    async def result(self, limit: float | None = None) -> Result:
        """Wait for the result; raises ``LibvirtCallError``, or ``asyncio.TimeoutError`` after ``limit`` seconds."""
        loop = asyncio.get_running_loop()
        timer = None if limit is None else loop.call_later(limit, self._settle, None, asyncio.TimeoutError())
        try:
            return await self._answer
        finally:
            if timer is not None:
                timer.cancel()

    def abort(self) -> None:
        """End the processes that a call that has not returned has started, such as the ssh to a remote host.

        That ssh would otherwise outlive the task, and wait for a silent host without a limit.
        """
        if self._has_returned:
            return
        # libvirt waits for the process in this thread, so that its id is not another's meanwhile.
        with (
            contextlib.suppress(OSError, ValueError),
            open(f"/proc/self/task/{self._thread.native_id}/children") as ids,
        ):
            for pid in ids.read().split():
                os.kill(int(pid), signal.SIGTERM)


def _as_refusal(error: Exception) -> Exception:
    # A libvirtError is recognized by its methods: only the connection imports the library.
    code, number = getattr(error, "get_error_code", None), getattr(error, "get_int1", None)
    if code is None or number is None:
        return error
    return LibvirtCallError(code() or 0, str(error), number() or 0)
