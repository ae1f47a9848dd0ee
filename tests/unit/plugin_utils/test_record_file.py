# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of a record is written in one step, and only if it differs."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.plugin_utils.record_file import write_record

RECORD = {"rollout_id": "a41c", "hypervisor": "kvm1", "guests": {"web1": {"live": "0-3"}}}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_record_is_written_into_a_new_folder_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "rollouts" / "a41c" / "kvm1.json"
    assert write_record(path, RECORD, check_mode=False)
    assert json.loads(path.read_text()) == RECORD
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert list(path.parent.iterdir()) == [path]


def test_a_record_that_its_file_has_already_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "kvm1.json"
    write_record(path, RECORD, check_mode=False)
    before = path.stat().st_ino
    assert not write_record(path, RECORD, check_mode=False)
    assert not write_record(path, RECORD, check_mode=True)
    assert path.stat().st_ino == before


def test_check_mode_reports_a_change_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rollouts" / "kvm1.json"
    assert write_record(path, RECORD, check_mode=True)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_record_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kvm1.json"
    write_record(path, RECORD, check_mode=False)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_record(path, {}, check_mode=False)
    assert json.loads(path.read_text()) == RECORD
    assert list(tmp_path.iterdir()) == [path]
