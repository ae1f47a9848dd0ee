# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which vCPU each of a guest's CPUs is, read in the sysfs of the guest through its agent."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping
from typing import Protocol

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.replies import invalid_reply, is_unable
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import parse_cpulist

CPUS = "/sys/devices/system/cpu"
# Longer than any of these files, but for lists of thousands of CPUs with gaps.
LONGEST_FILE = 4096

# QEMU's ACPI tables name a CPU after its slot: C005 in the container CPUS, or in the system bus on arm.
_ACPI_PATH = re.compile(r"\\_SB_\.(?:CPUS\.)?C([0-9A-F]{3})")
# pseries has the number of the thread in the machine, and 0 for CPUs that are not there.
_PHYSICAL_ID = re.compile(r"(\d{1,9})")


class Reader(Protocol):
    """What reads the guest's files."""

    async def read(self, path: str) -> str:
        """Return a file's text; raises ``CommandError``, and ``HotplugError`` where the reply is lost or invalid."""


async def read_slots(reader: Reader, logical_ids: Collection[int]) -> Mapping[int, int] | None:
    """Return the vCPU id behind each of the CPUs that are told; None where files may not be read, or tell nothing.

    Raises ``HotplugError`` (agent_error) where two CPUs claim to be the same vCPU.
    """
    try:
        # The topology directory is no help: a CPU that is offline has none.
        return await _told(reader, logical_ids, "firmware_node/path", _ACPI_PATH, 16) or await _told(
            reader, await _present(reader, logical_ids), "physical_id", _PHYSICAL_ID, 10
        )
    except CommandError:
        return None


async def _told(
    reader: Reader, logical_ids: Collection[int], name: str, pattern: re.Pattern[str], base: int
) -> Mapping[int, int] | None:
    """Raises ``CommandError`` where the agent reads no files at all."""
    slots: dict[int, int] = {}
    for number in sorted(logical_ids):
        try:
            match = pattern.fullmatch((await reader.read(f"{CPUS}/cpu{number}/{name}")).strip())
        except CommandError as refusal:
            if is_unable(refusal):
                raise
            match = None
        if match is not None:
            slots[number] = int(match.group(1), base)
        elif not slots:
            # Where the first CPU has no such file, none has: this is another platform.
            return None
    if len(set(slots.values())) < len(slots):
        raise invalid_reply(f"the question for {name}", f"the same for several CPUs: {slots}")
    return slots or None


async def _present(reader: Reader, logical_ids: Collection[int]) -> Collection[int]:
    """Those of the CPUs that are there and not only possible."""
    with contextlib.suppress(ValueError):
        return parse_cpulist((await reader.read(f"{CPUS}/present")).strip()) & frozenset(logical_ids)
    return ()
