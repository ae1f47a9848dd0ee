# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of a rollout's record: always a whole record, the one before or the new one."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record, None if there is no file. Raises ``OSError``, and ``ValueError`` if it is no JSON object."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    return record


def write_record(path: Path, record: Mapping[str, Any], check_mode: bool) -> bool:
    """Write ``record`` as JSON in one step, readable only by this user; return whether the file was different.

    In ``check_mode`` nothing is written. Missing folders are created. Raises ``OSError``.
    """
    text = json.dumps(record, indent=4, sort_keys=True) + "\n"
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == text.encode():
            return False
    if check_mode:
        return True
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp creates the file with mode 0600.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return True
