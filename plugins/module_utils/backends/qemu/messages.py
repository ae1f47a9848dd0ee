# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of a monitor or an agent, which may be hostile: parsed within limits, and never formatted completely."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

if TYPE_CHECKING:
    from qemu.qmp import Message

# QEMU and its agent nest at most six levels.
DEEPEST = 32
# 64 bits and a sign.
LONGEST_NUMBER = 20

_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_CLOSING = frozenset(b"]}")


def read_object(text: bytes | str) -> dict[str, Any]:
    """Return the JSON object in ``text``; raises ``ValueError`` with a message that is safe to print."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if _is_too_deep(data):
        raise ValueError(f"it nests deeper than {DEEPEST} levels")
    try:
        found = json.loads(data.decode(), parse_int=_number)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except ValueError:
        raise ValueError(f"it is not JSON: {printable(data[:200].decode('utf-8', 'replace'), 100)}") from None
    if not isinstance(found, dict):
        raise ValueError(f"it is no JSON object: {printable(found, 100)}")
    return found


def message_reader() -> Callable[[bytes], Message]:
    """Return the function that parses a line into a qemu.qmp message; it raises qemu.qmp's ``ProtocolError``."""
    from qemu.qmp import Message
    from qemu.qmp.error import ProtocolError

    class BriefMessage(Message):
        """A message that qemu.qmp quotes in short form; the full text grows with the square of its depth."""

        def __str__(self) -> str:
            return printable(self._object)

        __repr__ = __str__

    def read(line: bytes) -> Message:
        try:
            return BriefMessage(read_object(line), eager=False)
        except ValueError as error:
            raise ProtocolError(str(error)) from None

    return read


def _is_too_deep(data: bytes) -> bool:
    # Brackets within quotes do not nest; without escapes, every second part is within quotes.
    outside = b"".join(_ESCAPED.sub(b"", data).split(b'"')[::2])
    depth = 0
    for bracket in outside.translate(None, _NO_BRACKET):
        depth += -1 if bracket in _CLOSING else 1
        if depth > DEEPEST:
            return True
    return False


def _number(digits: str) -> int:
    # Without a limit in Python itself, the time for a long number grows with the square of its length.
    if len(digits) > LONGEST_NUMBER:
        raise ValueError
    return int(digits)
