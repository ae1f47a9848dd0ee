# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load of a guest: how much of the time its vCPUs ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The CPU time of each enabled vCPU in seconds, by vCPU id.
Times = Mapping[int, float]


class LoadMeter:
    """Compares the CPU times of vCPUs with those of the measurement before."""

    def __init__(self) -> None:
        self._last: tuple[float, dict[int, float]] | None = None

    def since_last(self, now: float, times: Times) -> dict[str, Any] | None:
        """Return the details of an event; None for the first measurement, or if no vCPU was enabled in both.

        ``utilization`` is the percentage of the interval of ``seconds`` that the vCPUs which were enabled at both of
        its ends ran, on average; ``count`` is how many are enabled now.
        """
        last, self._last = self._last, (now, dict(times))
        if last is None:
            return None
        seconds = now - last[0]
        # The time of a thread that has ended may be read as less than before, or as that of the whole process.
        busy = [min(max(times[vcpu] - last[1][vcpu], 0.0), seconds) for vcpu in times if vcpu in last[1]]
        if not busy or seconds <= 0:
            return None
        utilization = 100 * sum(busy) / (len(busy) * seconds)
        return {"utilization": round(utilization, 1), "count": len(times), "seconds": round(seconds, 1)}
