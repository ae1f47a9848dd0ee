# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate the replies of a guest's agent: the guest writes them, and may be hostile."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.commands import GuestCpu
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import AGENT_ERROR, HotplugError, printable

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError

# Linux has at most 8192 CPUs. Results and memory would grow with the number that a hostile guest reports.
HIGHEST_NUMBER = 8191

# How agents of all versions report an unsupported command: not built in (CommandNotFound since QEMU 9.1, on Windows),
# a stub, blocked by their configuration, or unavailable while file systems are frozen.
_UNABLE = re.compile(r"not currently supported|has been disabled|is not (?:enabled|allowed)", re.IGNORECASE)


def invalid_reply(command: str, reply: object) -> HotplugError:
    """Return the error for a reply with an unexpected structure."""
    return HotplugError(
        AGENT_ERROR,
        f"the guest agent gave an invalid reply to {command} ({printable(reply, 120)}): "
        "check which program uses the agent's port in the guest, and whether the agent is broken",
    )


def is_unable(refusal: CommandError) -> bool:
    """Whether the agent does not support the command, as opposed to a refusal of this request."""
    return refusal.kind == "CommandNotFound" or _UNABLE.search(refusal.desc) is not None


def unable(command: str, refusal: CommandError) -> HotplugError:
    """Return the error for a command that the agent did not execute."""
    if is_unable(refusal):
        why = (
            f"the guest agent does not offer {command} ({refusal.desc}): allow it in the agent's configuration "
            "(block-rpcs, allow-rpcs), thaw the guest's file systems, or update the agent; "
            "Windows agents cannot online and offline CPUs"
        )
    else:
        why = f"the guest agent failed at {command} ({refusal.desc}): see the agent's log in the guest"
    return HotplugError(AGENT_ERROR, why)


def read_cpus(reply: object) -> tuple[GuestCpu, ...]:
    """Return the CPUs by number, from the reply to guest-get-vcpus; raises ``HotplugError`` (agent_error)."""
    found: dict[int, GuestCpu] = {}
    for entry in reply if isinstance(reply, list) else [reply]:
        members = entry if isinstance(entry, dict) else {}
        number = _count(members.get("logical-id"), HIGHEST_NUMBER)
        online, can_offline = members.get("online"), members.get("can-offline")
        if number is None or not isinstance(online, bool) or not isinstance(can_offline, bool):
            raise invalid_reply("guest-get-vcpus", entry)
        if number in found:
            raise invalid_reply("guest-get-vcpus", f"CPU {number} twice")
        found[number] = GuestCpu(number, online, can_offline)
    if not found:
        raise invalid_reply("guest-get-vcpus", reply)
    return tuple(found[number] for number in sorted(found))


def read_processed(reply: object, asked: int) -> int:
    """Return how many CPUs were processed, from the reply to guest-set-vcpus; raises ``HotplugError``."""
    processed = _count(reply, asked)
    # 0 is valid for an empty list only: an agent that cannot process the first CPU returns an error.
    if not processed:
        raise invalid_reply("guest-set-vcpus", reply)
    return processed


def read_handle(reply: object) -> int:
    """Return the handle of an open file, from the reply to guest-file-open; raises ``HotplugError``."""
    handle = _count(reply, 2**63 - 1)
    if handle is None:
        raise invalid_reply("guest-file-open", reply)
    return handle


def read_text(reply: object, longest: int) -> str:
    """Return a file's text, from the reply to guest-file-read; raises ``HotplugError``."""
    encoded = reply.get("buf-b64") if isinstance(reply, dict) else None
    if not isinstance(encoded, str) or len(encoded) > 2 * longest:
        raise invalid_reply("guest-file-read", reply)
    try:
        return base64.b64decode(encoded, validate=True).decode("ascii", "replace")
    except ValueError:
        raise invalid_reply("guest-file-read", reply) from None


def _count(value: object, most: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None
