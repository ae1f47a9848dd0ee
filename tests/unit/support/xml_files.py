# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file of domain XML as a config state: observe it, write it, and look at the file."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Layout
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import Config, WriteResult

from .domains import derive_boot

TWO_OF_EIGHT = "<domain>\n  <vcpu current='2'>8</vcpu>\n</domain>\n"


def observe(path: Path) -> frozenset[int]:
    """Return the enabled ids."""
    return asyncio.run(XmlFile(str(path), 1, derive_boot).observe()).state.enabled


def write(path: Path, *enabled: int, layout: Layout | None = None, timeout: float = 1, **options: Any) -> WriteResult:
    """Write these enabled ids, after an observation."""

    async def converse() -> WriteResult:
        file: Config = XmlFile(str(path), timeout, derive_boot, **options)
        await file.observe()
        try:
            return await file.write(frozenset(enabled), layout)
        finally:
            await file.close()

    return asyncio.run(converse())


def refused(path: Path, *enabled: int, **options: Any) -> HotplugError:
    """Write these enabled ids, expect an error and an unchanged file, and return the error."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(HotplugError) as caught:
        write(path, *enabled, **options)
    if before is not None:
        assert path.read_bytes() == before
    return caught.value


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file, as another run does."""
    with open(path, encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def set_access_list(path: Path, kind: str) -> None:
    """Let another user read and write, as ``setfacl -m`` does; ``kind`` is access or default."""
    everyone = 0xFFFFFFFF
    entries = ((0x01, 6, everyone), (0x02, 6, 1234), (0x04, 4, everyone), (0x10, 4, everyone), (0x20, 0, everyone))
    try:
        os.setxattr(
            path,
            f"system.posix_acl_{kind}",
            struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries),
        )
    except OSError:
        pytest.skip("this file system has no access control lists")


def listing(path: Path) -> list[str]:
    """Return what is in the file's folder."""
    return sorted(os.listdir(path.parent))
