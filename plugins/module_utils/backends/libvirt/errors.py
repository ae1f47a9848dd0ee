# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's errors: the error code and the remedy of each, by its number if that is sufficient, else by its text."""

from __future__ import annotations

import re

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.error_texts import classify as meaning_to_qemu
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFIG_INVALID,
    GUEST_NOT_FOUND,
    GUEST_NOT_RUNNING,
    HOTPLUG_UNSUPPORTED,
    INTERNAL,
    MIGRATION_IN_PROGRESS,
    MONITOR_BUSY,
    MONITOR_UNREACHABLE,
    NOT_HOTPLUGGABLE,
    PARTIAL_ENTITY,
    PLACEMENT_FAILED,
    UNKNOWN_VCPU,
    HotplugError,
    printable,
)

# libvirt/virterror.h; as numbers, so that no library is needed.
NO_SUPPORT = 3
INVALID_ARGUMENT = 8
OPERATION_DENIED = 29
SYSTEM_ERROR = 38
NO_DOMAIN = 42
OPERATION_INVALID = 55
AUTH_FAILED = 45
CONFIG_UNSUPPORTED = 67
OPERATION_TIMEOUT = 68
AUTH_CANCELLED = 79
AUTH_UNAVAILABLE = 80
ACCESS_DENIED = 88

_SEE_LOG = "see the log of the libvirt daemon"

_BY_NUMBER: dict[int, tuple[str, str]] = {
    NO_SUPPORT: (HOTPLUG_UNSUPPORTED, "name a guest of libvirt's QEMU driver"),
    NO_DOMAIN: (GUEST_NOT_FOUND, "see virsh list --all for the guests at the uri"),
    **dict.fromkeys(
        (OPERATION_DENIED, AUTH_FAILED, AUTH_CANCELLED, AUTH_UNAVAILABLE, ACCESS_DENIED),
        (
            MONITOR_UNREACHABLE,
            "run the task as a user who may change guests (become: true), or name a uri that is not read-only",
        ),
    ),
}

# Read in libvirt 9.0 to 11.3: src/qemu/qemu_hotplug.c, qemu_driver.c, qemu_domainjob.c.
_BY_TEXT: tuple[tuple[str, str, str], ...] = (
    # Without its monitor, libvirt regards QEMU as ended, but for a moment not yet the domain as shut off.
    (
        r"domain is (not|no longer) running|End of file from qemu monitor|Unable to (read from|write to) monitor",
        GUEST_NOT_RUNNING,
        "start the guest, or use scope config",
    ),
    (r"domain not found|no domain with matching", GUEST_NOT_FOUND, "see virsh list --all for the guests at the uri"),
    (
        r"state change lock.*[mM]igrat|being migrated",
        MIGRATION_IN_PROGRESS,
        "wait until the migration has ended, then run the task again",
    ),
    (
        r"state change lock",
        MONITOR_BUSY,
        "another client is changing the guest; wait until that has ended, then run the task again",
    ),
    (r"siblings were not selected|larger hotpluggable entity", PARTIAL_ENTITY, "name all of them, or granularity core"),
    (r"not present in|vcpu.*out of range", UNKNOWN_VCPU, "name others, or raise the maximum"),
    (
        r"can't be unplugged|can't be modified|followed by non-hotpluggable",
        NOT_HOTPLUGGABLE,
        "set boot_vcpus: hotpluggable with scope: config, which makes it hotpluggable from the next boot on",
    ),
    (r"already in requested state", NOT_HOTPLUGGABLE, "restart the libvirt daemon, which reads QEMU's own state then"),
)


class LibvirtCallError(Exception):
    """libvirt replied to a call with an error; ``number`` is its VIR_ERR, ``desc`` its text, ``errno`` the system's."""

    def __init__(self, number: int, desc: str, errno: int = 0) -> None:
        super().__init__(desc)
        self.number = number
        self.desc = printable(desc)
        self.errno = errno

    @property
    def timed_out(self) -> bool:
        """Whether libvirt's own wait for the guest timed out, so that the outcome is unknown."""
        return self.number == OPERATION_TIMEOUT and "unplug request timed out" in self.desc

    def error(self, doing: str) -> HotplugError:
        """Return the error for the user after ``doing`` failed."""
        code, remedy = classify(self)
        return HotplugError(code or INTERNAL, f"{doing}: libvirt reports: {self.desc}; {remedy}")


def classify(error: LibvirtCallError) -> tuple[str | None, str]:
    """Return the error code and the remedy for an error, or None and a general remedy."""
    for pattern, code, remedy in _BY_TEXT:
        if re.search(pattern, error.desc):
            return code, remedy
    if error.number in _BY_NUMBER:
        return _BY_NUMBER[error.number]
    code_of_qemu, remedy = meaning_to_qemu(error.desc)
    return (code_of_qemu, remedy) if code_of_qemu is not None else (None, _SEE_LOG)


def classify_failed_placement(error: LibvirtCallError) -> tuple[str | None, str]:
    """Return the error code and the remedy for an error of a plug after which the vCPU is there.

    None if libvirt plugged nothing, so that the vCPU was plugged before. libvirt places a vCPU after QEMU has plugged
    it, and leaves it in QEMU if that fails: refusals of the host to set affinity, scheduler or cgroup are system
    errors, and features that the host lacks are an unsupported configuration.
    """
    if error.number in (SYSTEM_ERROR, CONFIG_UNSUPPORTED):
        return PLACEMENT_FAILED, (
            "correct the domain's <cputune> (virsh edit, virsh vcpupin) or what limits libvirt here, and unplug "
            "the vCPU until then, or use on_failure: rollback"
        )
    code, remedy = classify(error)
    return (None, "") if code is not None else (INTERNAL, remedy)


def classify_config_error(error: LibvirtCallError) -> tuple[str, str]:
    """Return the same for an error of a call that changes the config state."""
    if re.search(r"transient domain", error.desc):
        return GUEST_NOT_FOUND, "the guest was undefined meanwhile; define it again, or use scope live"
    code, remedy = classify(error)
    return (code or CONFIG_INVALID), remedy
