# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find option values that ansible-core's argument spec would convert wrongly, or fail for with a traceback.

It converts ``"+2"`` and ``"1_0"`` to the integers 2 and 10 and true to 1, cannot convert infinity to an integer, and
fails on an integer instead of a dictionary with suboptions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.validation import check_type_dict, check_type_list

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

# Far above any number of vCPUs, guests or seconds.
LARGEST = 10**9

_DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII)


def unconvertible_option(params: Mapping[str, Any], spec: Mapping[str, Mapping[str, Any]]) -> tuple[str, str] | None:
    """Return the first of ``params`` with such a value, and the message for the user; None without one.

    Values that the argument spec itself refuses with a message are not checked.
    """
    for name, option in spec.items():
        if params.get(name) is not None:
            problem = _problem(name, params[name], option)
            if problem:
                return name, problem
    return None


def _problem(name: str, value: Any, option: Mapping[str, Any]) -> str:
    kind = option.get("type", "str")
    if kind == "int":
        return "" if _is_integer(value) else _wrong(name, value, "write a whole number, without a sign")
    if kind == "float":
        return "" if _is_number(value) else _wrong(name, value, "write a number")
    if kind in ("str", "path"):
        return "" if _is_text(value) else _wrong(name, value, "write text without control characters")
    if kind == "dict":
        return _problem_of_dict(name, value, option)
    if kind == "list":
        return _problem_of_list(name, value, option)
    return ""


def _problem_of_dict(name: str, value: Any, option: Mapping[str, Any]) -> str:
    if "options" not in option:
        return ""
    try:
        members = check_type_dict(value)
    except TypeError:
        members = None
    if not isinstance(members, dict):
        return _wrong(name, value, f"write a dictionary of {' and '.join(option['options'])}")
    found = unconvertible_option(members, option["options"])
    return "" if found is None else f"{name}.{found[1]}"


def _problem_of_list(name: str, value: Any, option: Mapping[str, Any]) -> str:
    try:
        items = check_type_list(value)
    except TypeError:
        return _wrong(name, value, "write a list")
    member = {**option, "type": option.get("elements", "raw")}
    problems = (_problem(f"{name}[{number}]", item, member) for number, item in enumerate(items))
    return next((problem for problem in problems if problem), "")


def _is_integer(value: Any) -> bool:
    if isinstance(value, str):
        return _DIGITS.fullmatch(value.strip()) is not None
    if isinstance(value, float):
        return value.is_integer() and abs(value) <= LARGEST
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) > LARGEST):
        return False
    return isinstance(value, (int, float, str))


def _is_text(value: Any) -> bool:
    """Text that becomes part of a path, a request to libvirt or a message must be valid."""
    text = value if isinstance(value, str) else str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _wrong(name: str, value: Any, remedy: str) -> str:
    shown = value if isinstance(value, (int, float)) else repr(value[:60]) if isinstance(value, str) else value
    return f"{name} is {printable(shown, 80)}: {remedy}"
