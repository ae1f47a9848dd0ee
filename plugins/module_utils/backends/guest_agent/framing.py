# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells the agent's protocol from QMP: no greeting, no ids, no events, and a byte that ends what was before."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.messages import read_object
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

SYNC = "guest-sync-delimited"
# No JSON has this byte. The agent forgets the half of a command that it has read when it sees it, and writes it before
# its answer to the sync, so that whatever was half said or not yet read is behind both.
SENTINEL = b"\xff"
# 4096 vCPUs take a quarter of it.
LONGEST_REPLY = 1024 * 1024
# Of what is no answer, as much as a message will quote.
_KEPT = 400
# Stale replies of earlier clients are as long as replies, and few; to skip a line takes as long as to read a kilobyte.
MOST_SKIPPED = 4 * LONGEST_REPLY
COST_OF_A_LINE = 1024


class Dialect:
    """One conversation's state: what was asked last, and the sync that is waited for.

    Plain ``guest-sync`` would leave an agent that has read half a command waiting for its other half, and cannot be
    told from a stale answer by a reader that is in the middle of a line. Agents before QEMU 4.0 refuse commands with an
    id, and all answer in the order they are asked: so commands go out without, and an answer with an id is to somebody
    else.
    """

    def __init__(self) -> None:
        self._asked: Any = None
        self._sync: Any = None
        self._skipped = 0
        self.objection = ""

    def prepare(self, command: MutableMapping[str, Any]) -> None:
        """Have ``command`` ready to be sent: without the id, which is remembered for the answer."""
        self._asked = command.pop("id", None)
        self._skipped = 0
        if command["execute"] == SYNC:
            self._sync = command["arguments"]["id"]
            self.objection = ""

    @property
    def is_flooded(self) -> bool:
        """Whether more was read since the last command than can be stale replies to earlier ones."""
        return self._skipped > MOST_SKIPPED

    def answer_in(self, line: bytes) -> bytes | None:
        """Return the answer in a line that was read, None where it is not to what was asked."""
        self._skipped += len(line) + COST_OF_A_LINE
        _before, mark, said = line.rpartition(SENTINEL)
        if self._sync is None:
            return said
        answer = _read(said)
        if mark and answer is not None and _is_number(answer.get("return"), self._sync):
            self._sync = None
            return said
        if answer is None or "return" not in answer:
            # The answer to a sync that the agent refuses, or somebody who is no agent.
            self.objection = printable(said[:_KEPT].decode("utf-8", "replace"), _KEPT // 2)
        return None

    def claim(self, answer: MutableMapping[str, Any]) -> bool:
        """Whether ``answer`` is to what was asked last; it then gets the id of that."""
        if self._asked is None or "id" in answer or "event" in answer:
            return False
        answer["id"], self._asked = self._asked, None
        return True


def _read(text: bytes) -> dict[str, Any] | None:
    try:
        return read_object(text)
    except ValueError:
        return None


def _is_number(value: object, number: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == number
