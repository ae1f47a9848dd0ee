# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of ids as users and the kernel write them: ``0-3,6`` and ``0-7,^2``."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Far above the maximum of any QEMU machine; it bounds the memory that a mistyped range can use.
HIGHEST_ID = 65535
# Each id once, and once more to exclude it: it bounds the time for a list whose ranges overlap.
_MOST_LISTED = 2 * (HIGHEST_ID + 1)

_ITEM = re.compile(r"(\^?)(\d{1,20})(?:-(\d{1,20}))?", re.ASCII)


def parse_cpulist(text: str) -> frozenset[int]:
    """Return the ids that ``text`` names.

    Raises ``ValueError``, with a message for users, when ``text`` is malformed or names nothing.
    """
    named: set[int] = set()
    excluded: set[int] = set()
    listed = 0
    for item in text.split(","):
        match = _ITEM.fullmatch(item.strip())
        if match is None:
            raise ValueError(
                f"{_shown(text)!r} is not a list of ids: write a number, a range such as 0-3, "
                "several of them separated by commas, and ^2 to exclude one"
            )
        first = int(match.group(2))
        last = int(match.group(3) or first)
        if last < first:
            raise ValueError(f"the range {first}-{last} in {_shown(text)!r} runs backwards: write {last}-{first}")
        if last > HIGHEST_ID:
            raise ValueError(f"{last} in {_shown(text)!r} is above {HIGHEST_ID}, the highest possible id")
        listed += last - first + 1
        if listed > _MOST_LISTED:
            raise ValueError(f"{_shown(text)!r} lists the same ids repeatedly: list each once")
        (excluded if match.group(1) else named).update(range(first, last + 1))
    if not named - excluded:
        raise ValueError(f"{_shown(text)!r} names no id")
    return frozenset(named - excluded)


def format_cpulist(ids: Iterable[int]) -> str:
    """Return ``ids`` in the shortest form, ``""`` for none."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in _ranges(sorted(set(ids))))


def _ranges(ordered: list[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for number in ordered:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def _shown(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
