# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vCPU id of each of a guest's CPUs, read from the guest's sysfs through its agent."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping
from typing import Protocol

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.replies import (
    HIGHEST_NUMBER,
    invalid_reply,
    is_unable,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import parse_cpulist

CPUS = "/sys/devices/system/cpu"
# Longer than any of these files, except lists of thousands of CPUs with gaps.
LONGEST_FILE = 4096

# The topology directory cannot be used, because an offline CPU has none.
#
# QEMU's ACPI tables name a CPU after its slot: C005 in the container CPUS, or in the system bus on arm.
_ACPI = ("firmware_node/path", re.compile(r"\\_SB_\.(?:CPUS\.)?C([0-9A-F]{3})"), 16)
# pseries has the number of the thread in the machine, and 0 for CPUs that are not present.
_PSERIES = ("physical_id", re.compile(r"(\d{1,5})"), 10)
# s390x has the CPU's address, which is QEMU's core-id.
_S390X = ("address", re.compile(r"(\d{1,5})"), 10)

_File = tuple[str, "re.Pattern[str]", int]


class Reader(Protocol):
    """Reads the guest's files."""

    async def read(self, path: str) -> str:
        """Return a file's text; raises ``CommandError``, or ``HotplugError`` if the reply is lost or invalid."""


async def read_slots(reader: Reader, numbers: Collection[int]) -> Mapping[int, int] | None:
    """Return the vCPU id of each of the CPUs that has one; None if files may not be read, or contain none.

    Raises ``HotplugError`` (agent_error) if two CPUs have the same id.
    """
    try:
        return (
            await _ids(reader, numbers, _ACPI)
            or await _ids(reader, await _present(reader, numbers), _PSERIES)
            or await _ids(reader, numbers, _S390X)
        )
    except CommandError:
        return None


async def _ids(reader: Reader, numbers: Collection[int], file: _File) -> Mapping[int, int] | None:
    """Raises ``CommandError`` if the agent reads no files at all."""
    name, pattern, base = file
    slots: dict[int, int] = {}
    for number in sorted(numbers):
        try:
            match = pattern.fullmatch((await reader.read(f"{CPUS}/cpu{number}/{name}")).strip())
        except CommandError as refusal:
            if is_unable(refusal):
                raise
            match = None
        if match is not None:
            slots[number] = int(match.group(1), base)
        elif not slots:
            # If the first CPU has no such file, none has: this is another platform.
            return None
    if len(set(slots.values())) < len(slots):
        raise invalid_reply(f"the request for {name}", f"the same for several CPUs: {slots}")
    if max(slots.values(), default=0) > HIGHEST_NUMBER:
        raise invalid_reply(f"the request for {name}", f"ids above {HIGHEST_NUMBER}: {slots}")
    return slots or None


async def _present(reader: Reader, numbers: Collection[int]) -> Collection[int]:
    """Those of the CPUs that are present and not only possible."""
    with contextlib.suppress(ValueError):
        return parse_cpulist((await reader.read(f"{CPUS}/present")).strip()) & frozenset(numbers)
    return ()
