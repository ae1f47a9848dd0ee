# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cache a QEMU's replies in files that only this user can write; without a cache, QEMU is probed again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LONGEST_REPLY = 16 * 1024 * 1024
# Increase this when the command that is sent changes.
_FORMAT = 1


def key_of(binary: str, arguments: Sequence[str]) -> str:
    """The key under which replies of this binary to these arguments are equal; raises ``OSError`` without a binary."""
    path = os.path.realpath(binary)
    found = os.stat(path)
    return json.dumps([_FORMAT, path, found.st_size, found.st_mtime_ns, list(arguments)])


def recall(key: str) -> list[Any]:
    """Return the reply that is cached under ``key`` as the only member of a list, or an empty list."""
    try:
        # Do not read from a folder, a FIFO or a device.
        handle = os.open(_file(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or not _is_ours(found) or found.st_size > LONGEST_REPLY:
            return []
        with open(handle, "rb", closefd=False) as file:
            kept = json.loads(file.read(LONGEST_REPLY))
    except (OSError, ValueError, RecursionError):
        return []
    finally:
        os.close(handle)
    return [kept["answer"]] if isinstance(kept, dict) and kept.get("key") == key and "answer" in kept else []


def keep(key: str, answer: Any) -> None:
    """Cache ``answer`` under ``key``, if there is a safe place for it."""
    target = _file(key)
    if not target.is_absolute():
        return
    with contextlib.suppress(OSError):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.lstat(target.parent)
        if not stat.S_ISDIR(folder.st_mode) or not _is_ours(folder):
            return
        handle, temporary = tempfile.mkstemp(dir=target.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"key": key, "answer": answer}, file)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise


def _file(key: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~")) / ".cache"
    return folder / "kvm.hotplug" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
