# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blockers of plugs and unplugs, with the messages that all machine adapters share."""

from __future__ import annotations

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.error_texts import NOT_READY_REMEDY
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    GUEST_NOT_READY,
    HOTPLUG_UNSUPPORTED,
    MIGRATION_IN_PROGRESS,
    NOT_HOTPLUGGABLE,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Blocker

BOOT_VCPU = Blocker(
    NOT_HOTPLUGGABLE, "the guest booted on it, and QEMU cannot unplug the boot vCPU", "leave it enabled"
)
S390X = Blocker(
    NOT_HOTPLUGGABLE,
    "s390x machines can plug vCPUs, but not unplug them",
    "start the guest with fewer, or have the guest offline them",
)
MIGRATING = Blocker(
    MIGRATION_IN_PROGRESS,
    "the guest is being migrated, and source and destination must keep the same vCPUs",
    "wait until the migration has ended, then run the task again",
)
MIGRATION_TARGET = Blocker(
    MIGRATION_IN_PROGRESS,
    "this QEMU is the destination of a migration, and source and destination must keep the same vCPUs",
    "start it with the vCPUs of the source (migration.destination_args), or wait until the migration has ended",
)
MIGRATED = Blocker(
    MIGRATION_IN_PROGRESS,
    "the guest was migrated, and this QEMU is the source, which has stopped",
    "run the task where the guest runs now",
)
NOT_READY = Blocker(GUEST_NOT_READY, "the guest does not handle hotplug events yet", NOT_READY_REMEDY, passing=True)


# By QEMU's and libvirt's names of architectures. For others QEMU has no CPU hotplug, or only newer versions have it.
_MACHINES_WITH_HOTPLUG = {
    **dict.fromkeys(("x86_64", "i386", "i686"), "q35 or pc"),
    **dict.fromkeys(("ppc64", "ppc64le"), "pseries-2.7 or newer"),
}


def no_hotplug(reason: str, arch: str | None) -> Blocker:
    """Return the blocker of every vCPU of a machine without CPU hotplug, for a guest of this architecture."""
    machines = _MACHINES_WITH_HOTPLUG.get(arch or "")
    if machines is None:
        remedy = (
            "use scope config to change how many vCPUs the next boot has, or method agent to online and offline those "
            "that the guest has"
        )
    else:
        remedy = f"start the guest on a machine type that has CPU hotplug, such as {machines}"
    return Blocker(HOTPLUG_UNSUPPORTED, reason, remedy)


def not_running(state: str) -> Blocker:
    """Return what blocks every unplug in a guest that is ``state``."""
    return Blocker(
        GUEST_NOT_READY,
        f"the guest is {state}, and only a running guest can eject a vCPU",
        "resume or start the guest, then run the task again",
    )
