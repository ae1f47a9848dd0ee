# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cache of QEMU's replies, and unexpected files in its place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout import probe_cache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "kvm.hotplug"


def test_a_cached_reply_is_returned(folder: Path) -> None:
    probe_cache.keep("question", [1, 2])
    assert probe_cache.recall("question") == [[1, 2]]
    assert probe_cache.recall("another") == []


@pytest.mark.parametrize(
    "replace", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)], ids=["folder", "fifo", "link"]
)
def test_a_cache_entry_that_is_no_file_is_ignored(folder: Path, replace: Callable[[Path], None]) -> None:
    probe_cache.keep("question", 1)
    (file,) = folder.iterdir()
    file.unlink()
    replace(file)
    opened = len(os.listdir("/proc/self/fd"))
    assert probe_cache.recall("question") == []
    probe_cache.keep("question", 2)
    assert len(os.listdir("/proc/self/fd")) == opened
    assert [path for path in folder.iterdir() if path != file] == []
