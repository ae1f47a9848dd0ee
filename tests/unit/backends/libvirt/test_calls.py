# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A call in a thread: its result, its error, its time limit, and its cancellation."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.calls import BlockingCall
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError

from ...support.queries import run


class Refusal(Exception):
    """As an error of libvirt's."""

    def get_error_code(self) -> int:
        return 55

    def get_int1(self) -> int:
        return 0


def fail() -> None:
    raise Refusal("not now")


@pytest.mark.parametrize("limit", [None, 60.0])
def test_a_call_returns_its_result_or_raises_its_error(limit: float | None) -> None:
    async def work() -> tuple[int, int]:
        with pytest.raises(LibvirtCallError) as caught:
            await BlockingCall(fail).result(limit)
        return await BlockingCall(max, 3, 5).result(limit), caught.value.number

    assert run(work) == (5, 55)


def test_a_call_that_does_not_return_in_time_is_given_up_and_its_result_ignored() -> None:
    ended = threading.Event()

    async def work() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await BlockingCall(ended.wait).result(0.01)
        ended.set()
        assert await BlockingCall(max, 3, 5).result(60.0) == 5

    run(work)


def test_a_cancellation_at_the_moment_of_the_answer_is_not_lost() -> None:
    async def work() -> None:
        call = BlockingCall(fail)
        waiting = asyncio.ensure_future(call.result(60.0))
        # Before the task itself waits for the answer, so that it has not yet gone on with it.
        call._answer.add_done_callback(lambda _answer: waiting.cancel())
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(work)
