# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run an event source as ansible-rulebook 1.3 does: by runpy, with a queue of one event, and cancelled at the end.

Its arguments are read from the standard input as JSON, and its events are written as lines of JSON.
"""

from __future__ import annotations

import asyncio
import json
import runpy
import signal
import sys
from typing import Any

CLEARING_SECONDS = 10


async def run(plugin: str, args: dict[str, Any]) -> None:
    """Run the source until SIGTERM."""
    queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
    source = asyncio.ensure_future(runpy.run_path(plugin)["main"](queue, args))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, source.cancel)

    async def write() -> None:
        while True:
            print(json.dumps(await queue.get()), flush=True)

    writer = asyncio.ensure_future(write())
    try:
        await source
    except asyncio.CancelledError:
        left = asyncio.all_tasks() - {asyncio.current_task(), writer}
        # What was cancelled ends in the next rounds of the loop.
        if left and (await asyncio.wait(left, timeout=CLEARING_SECONDS))[1]:
            raise AssertionError(left) from None
    finally:
        writer.cancel()


asyncio.run(run(sys.argv[1], json.load(sys.stdin)))
