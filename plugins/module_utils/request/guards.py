# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guards of a request: the expected state before the run, and the maximum number of vCPUs to disable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import CONFIG, EMPTY, LIVE


class Guards(NamedTuple):
    """``expected`` are the ids enabled before the run, by scope; ``max_disable`` is None without a limit."""

    expected: Mapping[str, frozenset[int]] = EMPTY
    max_disable: int | None = None


NO_GUARDS = Guards()


def parse_guards(params: Mapping[str, Any]) -> Guards:
    """Return the guards in the options; raises ``HotplugError`` (conflicting_request) for invalid values."""
    most = params.get("max_disable")
    if most is not None and most < 0:
        raise HotplugError(CONFLICTING_REQUEST, f"max_disable is {most}: give 0 or more, or omit it")
    expected = params.get("expected") or {}
    return Guards({scope: _ids(scope, expected[scope]) for scope in (LIVE, CONFIG) if expected.get(scope)}, most)


def _ids(scope: str, text: str) -> frozenset[int]:
    try:
        return frozenset(parse_cpulist(text))
    except ValueError as error:
        raise HotplugError(
            CONFLICTING_REQUEST, f"expected.{scope}: {error}; write ids as a list such as 0-3,6"
        ) from None
