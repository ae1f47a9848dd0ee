# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that limit a run as a whole: the number of concurrent guests, and the load on their host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError

MOST_AT_ONCE = 256


class Limits(NamedTuple):
    """The number of concurrent guests, whether the first failure ends the batch, and the limit per host CPU."""

    concurrency: int = 16
    fail_fast: bool = False
    max_overcommit: float | None = None
    refuse_overcommit: bool = False


def check_concurrency(number: int) -> int:
    """Return ``max_concurrency``; raises ``HotplugError`` if it is out of range."""
    if not 1 <= number <= MOST_AT_ONCE:
        raise HotplugError(CONFLICTING_REQUEST, f"max_concurrency is {number}: give 1 to {MOST_AT_ONCE}")
    return number


def limits_of(params: Mapping[str, Any]) -> Limits:
    """Return the options of the batch as a whole; raises ``HotplugError``."""
    most = params["max_overcommit"]
    if most is not None and not most > 0:
        raise HotplugError(CONFLICTING_REQUEST, f"max_overcommit is {most:g}: give a number above 0, or omit it")
    return Limits(
        concurrency=check_concurrency(params.get("max_concurrency", 1)),
        fail_fast=bool(params.get("fail_fast")),
        max_overcommit=most,
        refuse_overcommit=params["overcommit"] == "fail",
    )
