# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option ``filters`` of the inventory: which guests become hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ansible.errors import AnsibleParserError

INCLUDE, EXCLUDE = "include", "exclude"


class Filter(NamedTuple):
    """A condition, and what to do with the guests that meet it."""

    includes: bool
    condition: Any


def filters_of(entries: Iterable[Any]) -> list[Filter]:
    """Return the filters that the option has; raises ``AnsibleParserError``."""
    return [_filter(entry) for entry in entries]


def is_included(filters: Iterable[Filter], evaluate: Callable[[Any], Any]) -> bool:
    """Return what the first filter whose condition is met says of a guest; it is included if none is met.

    ``evaluate`` returns the value of a condition for the guest. Raises ``AnsibleParserError`` if it cannot, or if that
    is neither true nor false.
    """
    return next((one.includes for one in filters if _is_met(one.condition, evaluate)), True)


def _filter(entry: Any) -> Filter:
    if isinstance(entry, Mapping) and len(entry) == 1:
        [(kind, condition)] = entry.items()
        if kind in (INCLUDE, EXCLUDE) and isinstance(condition, (str, bool)):
            return Filter(kind == INCLUDE, condition)
    raise AnsibleParserError(
        f"filters has {entry!r}: give a dictionary of {INCLUDE} or {EXCLUDE}, and a condition in Jinja2"
    )


def _is_met(condition: Any, evaluate: Callable[[Any], Any]) -> bool:
    if isinstance(condition, bool):
        return condition
    try:
        value = evaluate(condition)
    # Jinja2 and its filters raise what they like.
    except Exception as error:
        raise AnsibleParserError(f"filters: {condition!r} cannot be evaluated: {error}") from error
    if not isinstance(value, bool):
        raise AnsibleParserError(f"filters: {condition!r} is {value!r}: give a condition that is true or false")
    return value
