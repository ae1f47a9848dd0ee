# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan must not do, whatever was wished: start from another state, or take too many vCPUs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import CONFIG, EMPTY, LIVE, GuestState
from ansible_collections.kvm.hotplug.plugins.module_utils.plan import Plan


class Guards(NamedTuple):
    """``expected`` are the ids that shall be enabled before, by scope; ``max_disable`` is None where all may go."""

    expected: Mapping[str, frozenset[int]] = EMPTY
    max_disable: int | None = None


NO_GUARDS = Guards()


def parse_guards(params: Mapping[str, Any]) -> Guards:
    """Return what the options ask for; raises ``HotplugError`` (conflicting_request) for what makes no sense."""
    most = params.get("max_disable")
    if most is not None and most < 0:
        raise HotplugError(CONFLICTING_REQUEST, f"max_disable is {most}: give 0 or more, or leave it out")
    expected = params.get("expected") or {}
    return Guards({scope: _ids(scope, expected[scope]) for scope in (LIVE, CONFIG) if expected.get(scope)}, most)


def check_guards(plan: Plan, state: GuestState, guards: Guards) -> None:
    """Refuse a plan that breaks a guard; one without steps breaks none. Raises ``HotplugError``."""
    if not plan.changes:
        return
    for scope, expected in guards.expected.items():
        found = state.scope(scope)
        if found is None or found.enabled != expected:
            now = "not known" if found is None else format_cpulist(found.enabled)
            raise HotplugError(
                CONFLICTING_REQUEST,
                f"the {scope} vCPUs are {now}, and the change was decided on when they were "
                f"{format_cpulist(expected)}: look at the guest again, and decide anew",
            )
    for scope, reached in plan.reached.items():
        found = state.scope(scope)
        lost = frozenset() if found is None else found.enabled - reached
        if guards.max_disable is not None and len(lost) > guards.max_disable:
            raise HotplugError(
                CONFLICTING_REQUEST,
                f"{len(lost)} vCPUs would be disabled ({format_cpulist(lost)}), and max_disable is "
                f"{guards.max_disable}: ask for less, or raise it",
            )


def _ids(scope: str, text: str) -> frozenset[int]:
    try:
        return frozenset(parse_cpulist(text))
    except ValueError as error:
        raise HotplugError(
            CONFLICTING_REQUEST, f"expected.{scope}: {error}; write ids as a list such as 0-3,6"
        ) from None
