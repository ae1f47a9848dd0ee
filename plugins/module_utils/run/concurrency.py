# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same work for many guests, on at most so many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Callable, TypeVar

Item = TypeVar("Item")


async def for_each(items: Sequence[Item], work: Callable[[Item], Awaitable[None]], concurrency: int) -> None:
    """Do ``work`` on every item, on ``concurrency`` of them at a time; raises what the first failing one raised."""
    slots = asyncio.Semaphore(concurrency)

    async def one(item: Item) -> None:
        async with slots:
            await work(item)

    await asyncio.gather(*(one(item) for item in items))
