# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The QEMU processes of a host are read once for many guests, and again for one that is not as it was read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.processes import Processes


def start(proc: Path, pid: int, uuid: str) -> Path:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "cmdline").write_bytes(b"\0".join([b"qemu", b"-name", b"-uuid", b"-uuid", uuid.encode(), b""]))
    return folder


class Counted(Processes):
    """Counts how often all processes are read."""

    times = 0

    def _read(self) -> dict[str, list[Path]]:
        self.times += 1
        return super()._read()


def test_many_guests_take_one_reading(tmp_path: Path) -> None:
    folders = {f"uuid-{number}": start(tmp_path, number, f"uuid-{number}") for number in range(40)}
    (tmp_path / "self").mkdir()
    (tmp_path / "77").mkdir()
    processes = Counted(tmp_path)
    assert {uuid: processes.of(uuid) for uuid in folders} == folders
    assert processes.times == 1


def test_a_guest_that_was_started_since_the_reading_is_found(tmp_path: Path) -> None:
    start(tmp_path, 1, "first")
    processes = Counted(tmp_path)
    assert processes.of("first") == tmp_path / "1"
    start(tmp_path, 2, "second")
    assert processes.of("second") == tmp_path / "2"
    assert processes.times == 2


@pytest.mark.parametrize(
    ("pid", "uuid", "found"),
    [(2, "one", "2"), (1, "another", None)],
    ids=["the guest was started again", "another guest got the process id"],
)
def test_a_process_that_has_ended_is_not_taken_for_its_guest(
    tmp_path: Path, pid: int, uuid: str, found: str | None
) -> None:
    start(tmp_path, 1, "one")
    processes = Processes(tmp_path)
    processes.of("one")
    shutil.rmtree(tmp_path / "1")
    start(tmp_path, pid, uuid)
    assert processes.of("one") == (None if found is None else tmp_path / found)


def test_of_two_processes_with_one_uuid_neither_is_taken(tmp_path: Path) -> None:
    start(tmp_path, 1, "one")
    start(tmp_path, 2, "one")
    assert Processes(tmp_path).of("one") is None


def test_without_a_proc_there_are_none(tmp_path: Path) -> None:
    assert Processes(tmp_path / "missing").of("one") is None
