# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The RFC's <vcpus> element, with all attributes, from the results of a guest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Not html.escape, whose package has a table of all entities of HTML.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def vcpus_xml(vcpus: Iterable[Mapping[str, Any]]) -> str:
    """Return the element for ``vcpus`` as the modules return them.

    It has the live states, or the config states of a guest that is shut off, and ``cell``, ``pin`` and ``scheduler`` if
    known.
    """
    lines = ["<vcpus>"]
    for vcpu in vcpus:
        attributes = {
            "id": vcpu["id"],
            "state": vcpu["live"] or vcpu["config"],
            "cell": vcpu["node"],
            "pin": vcpu["pin"],
            "scheduler": vcpu["scheduler"],
        }
        text = " ".join(_attribute(name, value) for name, value in attributes.items() if value is not None)
        lines.append(f"  <vcpu {text}/>")
    return "\n".join([*lines, "</vcpus>", ""])


def _attribute(name: str, value: object) -> str:
    return f'{name}="{str(value).translate(_ESCAPES)}"'
