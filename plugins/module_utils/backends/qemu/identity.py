# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether a running QEMU and a config can be of the same guest. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Callable, NamedTuple

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestFacts

# QEMU's name for the target of a libvirt architecture, and further ones that it can run as.
_TARGETS = {
    "i686": ("i386", "x86_64"),
    "ppc64le": ("ppc64",),
    "armv6l": ("arm", "aarch64"),
    "armv7l": ("arm", "aarch64"),
}

# From the most to the least specific; a machine's alias and its versions are one family.
_MACHINES = {
    "q35": r"(?:pc-|ubuntu-)?q35(?:-.+)?",
    "pc": r"pc(?:-.+)?|ubuntu",
    "pseries": r"pseries(?:-.+)?",
    "s390-ccw-virtio": r"s390-ccw(?:-.+)?",
    "virt": r"virt(?:-.+)?",
    "microvm": r"microvm",
    "isapc": r"isapc",
}


class Difference(NamedTuple):
    """A fact in which the running guest and its config differ, with both values."""

    what: str
    running: str
    config: str


def difference(running: GuestFacts, config: GuestFacts) -> Difference | None:
    """Return a difference that shows that they are two guests, or None.

    A fact that one of them lacks is no difference. The same UUID is the same guest; name and machine type of its next
    boot may differ, but not the architecture.
    """
    same_uuid = running.uuid is not None and config.uuid is not None and _uuid(running.uuid) == _uuid(config.uuid)
    comparisons: list[tuple[str, str | None, str | None, Callable[[str, str], bool]]] = [
        ("architecture", running.arch, config.arch, _can_be_target),
        ("UUID", running.uuid, config.uuid, lambda one, other: _uuid(one) == _uuid(other)),
    ]
    if not same_uuid:
        comparisons += [
            ("name", running.name, config.name, str.__eq__),
            ("machine type", running.machine, config.machine, _can_be_machine),
        ]
    for what, one, other, agree in comparisons:
        if one is not None and other is not None and not agree(one, other):
            return Difference(what, one, other)
    return None


def _uuid(text: str) -> str:
    return text.replace("-", "").lower()


def _can_be_target(running: str, config: str) -> bool:
    return running in (config, *_TARGETS.get(config, ()))


def _can_be_machine(running: str, config: str) -> bool:
    """Whether they are of the same family; a name in no family may be an alias of any."""
    families = _family(running), _family(config)
    return None in families or families[0] == families[1]


def _family(machine: str) -> str | None:
    return next((family for family, names in _MACHINES.items() if re.fullmatch(names, machine)), None)
