# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read single elements and attributes of a domain's XML, or refuse them with their line and the remedy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.encoding import invalid
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, printable

if TYPE_CHECKING:
    from lxml.etree import _Element

_UNITS: dict[str, int] = {
    "b": 1,
    "byte": 1,
    "bytes": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgtpe", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgtpe", 1)},
    **{prefix: 1024**power for power, prefix in enumerate("kmgtpe", 1)},
}
_MOST_MEMORY = 2**63
# The time to convert digits into a number grows with the square of their number.
_DIGITS = re.compile(r"[0-9]{1,20}")


def only(parent: _Element, tag: str) -> _Element | None:
    """Return the child with this name and no namespace; refuse a second one, because its meaning is undefined."""
    found = [child for child in parent if child.tag == tag]
    if len(found) > 1:
        raise wrong(found[1], f"there is a second <{tag}>, after line {line_of(found[0])}: keep one")
    return found[0] if found else None


def below(root: _Element, parent: str, tag: str) -> _Element | None:
    """Return the only child of an only child, None if there is none."""
    found = only(root, parent)
    return None if found is None else only(found, tag)


def text_of(element: _Element | None) -> str | None:
    """Return an element's text, None if it is missing or blank."""
    return None if element is None or element.text is None else element.text.strip() or None


def number(element: _Element, text: str | None, what: str, lowest: int, highest: int) -> int:
    """Return a number from ``lowest`` to ``highest``, inclusive."""
    if text is None or not text.strip():
        raise wrong(element, f"{what} is missing: write a number from {lowest} to {highest}")
    digits = text.strip()
    if not _DIGITS.fullmatch(digits) or not lowest <= int(digits) <= highest:
        raise wrong(element, f"{what} is {printable(digits, 40)!r}: write a number from {lowest} to {highest}")
    return int(digits)


def id_list(element: _Element, text: str | None, what: str) -> frozenset[int]:
    """Return the ids of a list such as 0-3,6."""
    if text is None:
        raise wrong(element, f"{what} is missing: write a list such as 0-3,6")
    try:
        return parse_cpulist(text)
    except ValueError as error:
        raise wrong(element, f"{what}: {printable(error)}") from None


def line_of(element: _Element) -> int:
    """Return the line an element begins on."""
    return cast("int | None", element.sourceline) or 1


def wrong(element: _Element, problem: str) -> HotplugError:
    """Return the error (config_invalid) for an element; ``problem`` is the cause and the remedy."""
    tag = printable(element.tag, 40)
    return invalid(line_of(element), f"in <{tag}>, {problem}")


def memory_of(element: _Element, text: str | None, what: str) -> int:
    """Return an amount of memory in KiB, rounded up as libvirt rounds it."""
    return -(-bytes_of(element, text, what, "KiB") // 1024)


def bytes_of(element: _Element, text: str | None, what: str, unit_if_none: str = "b") -> int:
    """Return an amount of memory in bytes."""
    unit = str(element.get("unit", unit_if_none))
    factor = _UNITS.get(unit.lower())
    if factor is None:
        raise wrong(element, f"the unit of memory {printable(unit, 40)!r} is unknown: write b, KiB, MiB, GiB or TiB")
    return number(element, text, what, 0, _MOST_MEMORY // factor) * factor
