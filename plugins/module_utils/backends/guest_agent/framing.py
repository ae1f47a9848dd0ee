# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the agent's protocol differs from QMP: no greeting, no ids, no events, and a sentinel byte."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.messages import read_object
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

SYNC = "guest-sync-delimited"
# No JSON contains this byte. When the agent reads it, it discards an incomplete command. It writes the byte before its
# reply to the sync. So both sides discard everything that was incomplete or not yet read.
SENTINEL = b"\xff"
# 4096 vCPUs take a quarter of it.
LONGEST_REPLY = 1024 * 1024
# The part of an invalid reply that a message quotes.
_QUOTED = 400
# Stale replies to earlier clients are few, and each is at most a reply long. Skipping a line costs as much time as
# reading a kilobyte.
MOST_SKIPPED = 4 * LONGEST_REPLY
COST_OF_A_LINE = 1024


class Dialect:
    """The state of one conversation: the id of the last command, and the expected sync.

    With plain ``guest-sync``, an agent that has read half a command would wait for its other half, and a reader that
    starts within a line cannot distinguish the reply from a stale one. Agents before QEMU 4.0 refuse commands with an
    id, and all agents reply in order: so commands are sent without an id, and a reply with an id belongs to another
    client.
    """

    def __init__(self) -> None:
        self._pending_id: Any = None
        self._sync: Any = None
        self._skipped = 0
        self.rejected_text = ""

    def prepare(self, command: MutableMapping[str, Any]) -> None:
        """Prepare ``command`` for sending: remove its id, and keep it for the reply."""
        self._pending_id = command.pop("id", None)
        self._skipped = 0
        if command["execute"] == SYNC:
            self._sync = command["arguments"]["id"]
            self.rejected_text = ""

    @property
    def is_flooded(self) -> bool:
        """Whether more was read since the last command than stale replies to earlier ones can be."""
        return self._skipped > MOST_SKIPPED

    def reply_in(self, line: bytes) -> bytes | None:
        """Return the reply in a line that was read, None if it is not the reply to the last command."""
        self._skipped += len(line) + COST_OF_A_LINE
        _before, mark, text = line.rpartition(SENTINEL)
        if self._sync is None:
            return text
        answer = _read(text)
        if mark and answer is not None and _is_number(answer.get("return"), self._sync):
            self._sync = None
            return text
        if answer is None or "return" not in answer:
            # The error of an agent that refuses the sync, or the text of a peer that is no agent.
            self.rejected_text = printable(text[:_QUOTED].decode("utf-8", "replace"), _QUOTED // 2)
        return None

    def assign_id(self, answer: MutableMapping[str, Any]) -> bool:
        """Whether ``answer`` is the reply to the last command; it then gets the id of that command."""
        if self._pending_id is None or "id" in answer or "event" in answer:
            return False
        answer["id"], self._pending_id = self._pending_id, None
        return True


def _read(text: bytes) -> dict[str, Any] | None:
    try:
        return read_object(text)
    except ValueError:
        return None


def _is_number(value: object, number: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == number
