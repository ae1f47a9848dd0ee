# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The config port on a file: what of the file is kept, its backups, and other runs at the same time."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml import atomic_file, locked_file
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFIG_INVALID,
    CONFIG_LOCKED,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import WriteResult

from ...support.domains import derive_boot
from ...support.xml_files import TWO_OF_EIGHT, listing, locked, observe, refused, set_access_list, write


class TestTheFileStaysWhatItWas:
    def test_its_mode_is_kept(self, path: Path) -> None:
        path.chmod(0o4640)
        write(path, 0)
        assert stat.S_IMODE(path.stat().st_mode) == 0o4640

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_its_owner_and_group_are_kept(self, path: Path) -> None:
        os.chown(path, 1234, 4321)
        write(path, 0)
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)

    def test_its_extended_attributes_are_kept(self, path: Path) -> None:
        try:
            os.setxattr(path, "user.owner", b"web team")
        except OSError:
            pytest.skip("this file system has no extended attributes")
        write(path, 0)
        assert os.getxattr(path, "user.owner") == b"web team"

    def test_its_access_list_is_kept(self, path: Path) -> None:
        set_access_list(path, "access")
        kept = os.getxattr(path, "system.posix_acl_access")
        copy = write(path, 0, backup=True).backup_file
        for file in (path, Path(str(copy))):
            assert os.getxattr(file, "system.posix_acl_access") == kept
            assert stat.S_IMODE(file.stat().st_mode) == 0o640

    def test_the_folders_default_access_list_does_not_open_it_to_others(self, path: Path) -> None:
        path.chmod(0o640)
        set_access_list(path.parent, "default")
        copy = write(path, 0, backup=True).backup_file
        for file in (path, Path(str(copy))):
            assert "system.posix_acl_access" not in os.listxattr(file)
            assert stat.S_IMODE(file.stat().st_mode) == 0o640

    def test_a_file_whose_access_list_cannot_be_kept_is_not_changed(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_access_list(path, "access")

        def denied(*_arguments: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "setxattr", denied)
        error = refused(path, 0)
        assert error.code == CONFIG_INVALID
        assert "the access control list" in error.msg
        assert listing(path) == ["web.xml"]

    def test_hard_links_are_broken_with_a_warning(self, path: Path) -> None:
        other = path.with_name("other.xml")
        os.link(path, other)
        assert write(path, 0, 1).warning == ""
        assert "one of 2 names" in write(path, 0, 4).warning
        assert other.read_text(encoding="utf-8") == TWO_OF_EIGHT
        assert write(path, 0, 5).warning == ""

    def test_links_to_it_are_followed_and_stay(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "etc").mkdir()
        link, second = tmp_path / "etc" / "web.xml", tmp_path / "etc" / "second.xml"
        link.symlink_to("../web.xml")
        second.symlink_to("web.xml")
        assert write(second, 0, 4, backup=True).backup_file
        assert (link.is_symlink(), second.is_symlink()) == (True, True)
        assert observe(path) == {0, 4}
        assert sorted(os.listdir(tmp_path / "etc")) == ["second.xml", "web.xml"]


class TestBackup:
    def test_a_backup_is_named_as_by_ansible_and_contains_the_old_file(self, path: Path) -> None:
        path.chmod(0o600)
        before = path.stat()
        copy = write(path, 0, backup=True).backup_file
        assert copy is not None
        assert re.fullmatch(rf"{re.escape(str(path))}\.{os.getpid()}\.\d{{4}}-\d\d-\d\d@\d\d:\d\d:\d\d~", copy)
        assert Path(copy).read_text(encoding="utf-8") == TWO_OF_EIGHT
        after = Path(copy).stat()
        assert (stat.S_IMODE(after.st_mode), after.st_mtime_ns) == (0o600, before.st_mtime_ns)

    def test_one_run_makes_one_backup_of_the_file_before_the_run(self, path: Path) -> None:
        async def converse() -> list[WriteResult]:
            file = XmlFile(str(path), 1, derive_boot, backup=True)
            await file.observe()
            return [await file.write(frozenset({0})), await file.write(frozenset({0, 7}))]

        first, second = asyncio.run(converse())
        assert first.backup_file == second.backup_file
        assert Path(str(first.backup_file)).read_text(encoding="utf-8") == TWO_OF_EIGHT
        assert len(listing(path)) == 2

    def test_a_name_too_long_for_a_backup_is_an_error_and_no_file_remains(self, tmp_path: Path) -> None:
        path = tmp_path / ("w" * 240 + ".xml")
        path.write_text(TWO_OF_EIGHT, encoding="utf-8")
        error = refused(path, 0, backup=True)
        assert error.code == CONFIG_INVALID
        assert "the name of its backup would be too long" in error.msg
        assert listing(path) == [path.name]

    def test_two_runs_make_two_backups(self, path: Path) -> None:
        copies = {write(path, 0, backup=True).backup_file, write(path, 0, 1, backup=True).backup_file}
        assert len(copies) == 2
        assert {os.path.basename(str(copy)) for copy in copies} < set(listing(path))


class TestOtherRuns:
    def test_concurrent_changes_of_others_are_preserved(self, path: Path) -> None:
        async def converse() -> WriteResult:
            mine, other = XmlFile(str(path), 1, derive_boot), XmlFile(str(path), 1, derive_boot)
            await mine.observe()
            await other.observe()
            await other.write(frozenset({0, 1, 4}))
            return await mine.write(frozenset({0, 6}))

        assert asyncio.run(converse()).enabled == {0, 4, 6}
        assert observe(path) == {0, 4, 6}

    def test_a_lock_that_does_not_end_is_reported_with_its_holder(self, path: Path) -> None:
        with locked(path):
            error = refused(path, 0, timeout=0.1)
        assert error.code == CONFIG_LOCKED
        assert re.search(
            rf"still locked by (process {os.getpid()} \(.+\)|another process) after 0.1 seconds", error.msg
        )

    def test_a_run_waits_for_a_lock(self, path: Path) -> None:
        async def converse() -> WriteResult:
            file = XmlFile(str(path), 5, derive_boot)
            with locked(path):
                writing = asyncio.create_task(file.write(frozenset({0})))
                await asyncio.sleep(0.2)
                assert not writing.done()
            return await writing

        assert asyncio.run(converse()).changed

    def test_a_file_that_was_replaced_during_the_wait_is_read_again(self, path: Path) -> None:
        async def converse() -> WriteResult:
            file = XmlFile(str(path), 5, derive_boot)
            await file.observe()
            with locked(path):
                writing = asyncio.create_task(file.write(frozenset({0, 1, 2})))
                await asyncio.sleep(0.2)
                new = path.with_name("new")
                new.write_text(TWO_OF_EIGHT.replace("current='2'", "current='5'"), encoding="utf-8")
                new.replace(path)
            return await writing

        assert asyncio.run(converse()).enabled == {0, 1, 2, 3, 4}

    def test_an_editor_that_does_not_lock_is_not_overwritten(self, path: Path) -> None:
        with locked_file.locked(str(path), 1000, 1) as held:
            path.write_text("edited by hand", encoding="utf-8")
            with pytest.raises(HotplugError) as caught:
                atomic_file.replace(held, b"mine", backup=True)
        assert caught.value.code == CONFIG_LOCKED
        assert path.read_text(encoding="utf-8") == "edited by hand"
        assert listing(path) == ["web.xml"]

    def test_a_replaced_folder_does_not_redirect_the_write(self, tmp_path: Path) -> None:
        folder, moved, elsewhere = tmp_path / "guests", tmp_path / "moved", tmp_path / "elsewhere"
        for made in (folder, elsewhere):
            made.mkdir()
            (made / "web.xml").write_text(TWO_OF_EIGHT, encoding="utf-8")
        with locked_file.locked(str(folder / "web.xml"), 1000, 1) as held:
            folder.rename(moved)
            folder.symlink_to(elsewhere)
            copy = atomic_file.replace(held, b"mine", backup=True)
        assert (moved / "web.xml").read_text(encoding="utf-8") == "mine"
        assert (moved / os.path.basename(str(copy))).read_text(encoding="utf-8") == TWO_OF_EIGHT
        assert (elsewhere / "web.xml").read_text(encoding="utf-8") == TWO_OF_EIGHT
        assert os.listdir(elsewhere) == ["web.xml"]

    def test_only_temporary_files_of_killed_runs_are_removed(self, path: Path) -> None:
        stale = path.with_name(".web.xml.kvm-hotplug-abc123.tmp")
        others = [path.with_name(name) for name in (".web.xml.swp", ".other.xml.kvm-hotplug-abc123.tmp", "web.xml.tmp")]
        for file in (stale, *others):
            file.touch()
        write(path, 0)
        assert listing(path) == sorted(["web.xml", *(file.name for file in others)])


def test_a_name_near_the_limit_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / ("w" * 251 + ".xml")
    path.write_text(TWO_OF_EIGHT, encoding="utf-8")
    assert write(path, 0).changed
    assert listing(path) == [path.name]
