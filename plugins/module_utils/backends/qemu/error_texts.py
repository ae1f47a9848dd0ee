# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's refusals of CPU hotplug commands, by their texts: the error code and the remedy of each."""

from __future__ import annotations

import re

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    GUEST_NOT_READY,
    HOTPLUG_UNSUPPORTED,
    MIGRATION_IN_PROGRESS,
    NOT_HOTPLUGGABLE,
    UNPLUG_PENDING,
)

NOT_READY_REMEDY = (
    "its firmware or kernel has not brought ACPI up yet, or it runs without ACPI; wait until it has booted, "
    "then run the task again"
)

# Read in QEMU 7.2 to 10.0: hw/acpi, hw/i386, hw/ppc, hw/s390x, hw/core, system/qdev-monitor.c.
_CODE_OF_TEXT: tuple[tuple[str, str, str], ...] = (
    (r"unplug request for not supported device type", GUEST_NOT_READY, NOT_READY_REMEDY),
    (r"Boot CPU( core)? (is unpluggable|may not be unplugged)", NOT_HOTPLUGGABLE, "leave the boot vCPU enabled"),
    (
        r"SMI wasn't enabled by firmware",
        HOTPLUG_UNSUPPORTED,
        "start the guest with a firmware that negotiates CPU hot(un)plug with SMI, or one without SMM",
    ),
    (r"already in the process of unplug", UNPLUG_PENDING, "an unplug was requested before"),
    (r"migrat", MIGRATION_IN_PROGRESS, "wait until the migration has ended, then run the task again"),
    (
        r"not support(ed)?.*(plug)|plug.* not supported|not hotpluggable|query-hotpluggable-cpus' is not enabled",
        HOTPLUG_UNSUPPORTED,
        "start the guest on a machine type that has CPU hotplug",
    ),
)


def classify(desc: str) -> tuple[str | None, str]:
    """Return the error code and the remedy for QEMU's text ``desc``, or None and a general remedy."""
    for pattern, code, remedy in _CODE_OF_TEXT:
        if re.search(pattern, desc, re.IGNORECASE):
            return code, remedy
    return None, "see QEMU's log"
