# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waits with a limit return, time out and are cancelled."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.timeouts import within

SOON = 10
FOR_EVER = 3600


async def returns(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("it failed")


@pytest.mark.parametrize("limit", [SOON, None])
def test_the_result_is_returned(limit: float | None):
    assert asyncio.run(within(limit, returns(3))) == 3


def test_an_exception_is_raised():
    with pytest.raises(ValueError, match="it failed"):
        asyncio.run(within(SOON, fails()))


@pytest.mark.parametrize("limit", [0, 0.01])
def test_work_that_takes_longer_is_cancelled(limit: float):
    async def scenario() -> bool:
        work = asyncio.ensure_future(asyncio.sleep(FOR_EVER))
        with pytest.raises(asyncio.TimeoutError):
            await within(limit, work)
        return work.cancelled()

    assert asyncio.run(scenario())


def test_a_cancellation_cancels_the_work():
    async def scenario() -> bool:
        work = asyncio.ensure_future(asyncio.sleep(FOR_EVER))
        waiting = asyncio.ensure_future(within(FOR_EVER, work))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return work.cancelled()

    assert asyncio.run(scenario())


@pytest.mark.parametrize("failure", [None, ValueError("it failed")], ids=["result", "exception"])
def test_a_cancellation_is_raised_also_if_the_work_ends_at_the_same_moment(failure: Exception | None):
    async def scenario() -> bool:
        work: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(within(FOR_EVER, work))
        await asyncio.sleep(0)
        if failure is None:
            work.set_result(3)
        else:
            work.set_exception(failure)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        return waiting.cancelled()

    assert asyncio.run(scenario())
