# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The error type of the collection: a machine-readable code and a message for the user."""

from __future__ import annotations

import reprlib
import traceback

GUEST_NOT_FOUND = "guest_not_found"
GUEST_NOT_RUNNING = "guest_not_running"
MONITOR_UNREACHABLE = "monitor_unreachable"
MONITOR_BUSY = "monitor_busy"
AGENT_UNAVAILABLE = "agent_unavailable"
AGENT_ERROR = "agent_error"
UNKNOWN_VCPU = "unknown_vcpu"
UNKNOWN_NODE = "unknown_node"
PARTIAL_ENTITY = "partial_entity"
COUNT_UNREACHABLE = "count_unreachable"
CONFLICTING_REQUEST = "conflicting_request"
NOT_HOTPLUGGABLE = "not_hotpluggable"
HOTPLUG_UNSUPPORTED = "hotplug_unsupported"
GUEST_NOT_READY = "guest_not_ready"
UNPLUG_REFUSED = "unplug_refused"
UNPLUG_PENDING = "unplug_pending"
PLUG_UNACKNOWLEDGED = "plug_unacknowledged"
CONFIG_INVALID = "config_invalid"
CONFIG_LOCKED = "config_locked"
BACKEND_MISSING = "backend_missing"
MIGRATION_IN_PROGRESS = "migration_in_progress"
CONNECTION_LOST = "connection_lost"
PLACEMENT_FAILED = "placement_failed"
INTERNAL = "internal"

LIBRARY_REMEDY = "the role kvm.hotplug.hypervisor installs the libraries that the modules need"

# Long enough for Ansible's own list of supported options, in its message about an unsupported one.
LONGEST_MESSAGE = 4000

# Of a text, this many times the limit is examined; of anything else, a few members and levels.
_EXAMINED = 4
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 400


class HotplugError(Exception):
    """A failure the user can act on.

    ``code`` is one of this file's constants. ``msg`` states what failed, the cause and the remedy. It is safe to print,
    whatever names, paths and replies it contains.
    """

    def __init__(self, code: str, msg: str) -> None:
        self.code = code
        self.msg = printable(msg, LONGEST_MESSAGE)
        super().__init__(self.msg)


class NoListener(HotplugError):
    """There is no monitor socket, or no process listens at it: the guest may be shut off."""

    def __init__(self, msg: str) -> None:
        super().__init__(MONITOR_UNREACHABLE, msg)


class MissingLibrary(HotplugError):
    """A Python library that an adapter needs cannot be imported; ``entry/`` adds the name of the interpreter."""

    def __init__(self, library: str, url: str) -> None:
        super().__init__(
            BACKEND_MISSING, f"the Python library {library} is missing: install it ({url}); {LIBRARY_REMEDY}"
        )
        self.library = library
        self.url = url


class InternalError(HotplugError):
    """A defect of the collection, or a peer that contradicts itself; ``traceback`` is for the bug report."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            INTERNAL,
            f"an error in kvm.hotplug itself, please report it: {type(error).__name__}: {printable(error)}",
        )
        self.traceback = "".join(traceback.format_exception(type(error), error, error.__traceback__))


def printable(value: object, limit: int = 200) -> str:
    """Return untrusted text, or any other value in brief, as one line of printable characters, at most ``limit``.

    What Python calls not printable becomes a space: control and format characters, those for bidirectional text among
    them, separators of lines and paragraphs, and surrogates.
    """
    text = _BRIEF.repr(value) if isinstance(value, (dict, list, tuple)) else str(value)
    # The sender chooses the length of the text: examine no more of it than can be shown.
    beginning = text[: _EXAMINED * limit]
    line = " ".join("".join(char if char.isprintable() else " " for char in beginning).split())
    return line if len(line) <= limit and len(beginning) == len(text) else line[: limit - 3] + "..."
