# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The config port on a file: what is written, preserved and refused."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml import atomic_file, locked_file
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFIG_INVALID,
    CONFIG_LOCKED,
    GUEST_NOT_FOUND,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, GuestFacts, Layout
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import Config, WriteResult

from ...support.domains import RFC_EXAMPLE, derive_boot

TWO_OF_EIGHT = "<domain>\n  <vcpu current='2'>8</vcpu>\n</domain>\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "web.xml"
    file.write_text(TWO_OF_EIGHT, encoding="utf-8")
    return file


def observe(path: Path) -> frozenset[int]:
    return asyncio.run(XmlFile(str(path), 1, derive_boot).observe()).state.enabled


def write(path: Path, *enabled: int, layout: Layout | None = None, timeout: float = 1, **options: Any) -> WriteResult:
    async def converse() -> WriteResult:
        file: Config = XmlFile(str(path), timeout, derive_boot, **options)
        await file.observe()
        try:
            return await file.write(frozenset(enabled), layout)
        finally:
            await file.close()

    return asyncio.run(converse())


def refused(path: Path, *enabled: int, **options: Any) -> HotplugError:
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(HotplugError) as caught:
        write(path, *enabled, **options)
    if before is not None:
        assert path.read_bytes() == before
    return caught.value


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
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
    return sorted(os.listdir(path.parent))


def test_a_written_state_is_observed(path: Path) -> None:
    result = write(path, 0, 1, 5)
    assert result.changed
    assert result.enabled == {0, 1, 5}
    assert result.backup_file is None
    assert observe(path) == {0, 1, 5}


def test_writing_the_same_state_does_not_change_the_file_or_its_time(path: Path) -> None:
    before = path.stat()
    assert not write(path, 0, 1, backup=True).changed
    assert path.stat() == before
    assert listing(path) == ["web.xml"]


def test_no_other_file_remains_in_the_folder(path: Path) -> None:
    write(path, 0, 3)
    assert listing(path) == ["web.xml"]


def test_the_layout_has_nodes_and_cores(path: Path) -> None:
    path.write_text(RFC_EXAMPLE.replace(">3<", ">4<"), encoding="utf-8")
    cores = Layout((Entity(0, (0, 1), 5), Entity(1, (2, 3), 6)))
    assert "vCPU 2 would be enabled without the rest of 2-3" in refused(path, 0, 1, 2, layout=cores).msg
    write(path, 0, 1, layout=cores, detail="numa")
    assert "<vcpu id='1' state='enabled' cell='5'/>" in path.read_text(encoding="utf-8")


def test_the_reason_of_a_missing_layout_names_the_file(path: Path) -> None:
    path.write_text("<domain>\n<vcpu>2</vcpu><cpu><topology sockets='3' cores='1' threads='1'/></cpu></domain>")
    view = asyncio.run(XmlFile(str(path), 1, derive_boot).observe())
    assert view.layout is None
    assert view.layout_error is not None
    assert view.layout_error.msg.startswith(f"{path}: line 2 of the domain XML: <topology> makes 3 vCPUs")


class TestItIsOfTheRunningGuest:
    RUNNING = GuestFacts(name="web1", uuid="050569ef-a13e-403f-ab3d-af2651473133", arch="x86_64", machine="pc-q35-10.0")
    OTHER = (
        "<domain><name>web2</name><uuid>11111111-a13e-403f-ab3d-af2651473133</uuid><vcpu current='2'>8</vcpu></domain>"
    )

    def test_the_file_of_another_guest_is_refused_with_the_difference(self, path: Path) -> None:
        path.write_text(self.OTHER, encoding="utf-8")
        with pytest.raises(HotplugError) as caught:
            asyncio.run(XmlFile(str(path), 1, derive_boot).observe(self.RUNNING))
        assert caught.value.code == CONFIG_INVALID
        for named in (str(path), "UUID", "11111111-a13e", "050569ef-a13e"):
            assert named in caught.value.msg

    def test_it_is_not_written_if_it_became_another_guests_file_meanwhile(self, path: Path) -> None:
        def become_another() -> None:
            path.write_text(self.OTHER, encoding="utf-8")

        async def converse() -> None:
            file = XmlFile(str(path), 1, derive_boot)
            await file.observe(self.RUNNING)
            become_another()
            await file.write(frozenset({0}))

        with pytest.raises(HotplugError, match="another guest"):
            asyncio.run(converse())
        assert path.read_text(encoding="utf-8") == self.OTHER

    def test_a_file_without_identity_is_accepted(self, path: Path) -> None:
        assert asyncio.run(XmlFile(str(path), 1, derive_boot).observe(self.RUNNING)).state.enabled == {0, 1}


def test_a_domain_without_vcpu_keeps_its_one_vcpu(path: Path) -> None:
    path.write_text("<domain>\n</domain>\n", encoding="utf-8")
    assert observe(path) == {0}
    assert not write(path, 0).changed
    assert "the domain XML has 0-0 only" in refused(path, 0, 1).msg
    path.write_text("<domain><vcpus><vcpu id='0' enabled='no' hotpluggable='no'/></vcpus></domain>", encoding="utf-8")
    assert write(path, 0).changed
    assert observe(path) == {0}


class TestAMachineWithoutHotplug:
    """libvirt would not start it with a hotpluggable vCPU enabled, and it has the first so many vCPUs only."""

    @pytest.fixture(params=["aarch64' machine='virt", "riscv64' machine='virt", "x86_64' machine='microvm"])
    def fixed(self, request: pytest.FixtureRequest, path: Path) -> Path:
        vcpu = "<vcpu current='2'>8</vcpu>"
        path.write_text(f"<domain>\n  {vcpu}\n  <os><type arch='{request.param}'>hvm</type></os>\n</domain>\n")
        return path

    def test_only_the_count_is_written(self, fixed: Path) -> None:
        before = fixed.read_text(encoding="utf-8")
        assert write(fixed, 0, 1, 2).enabled == {0, 1, 2}
        assert fixed.read_text(encoding="utf-8") == before.replace("current='2'", "current='3'")

    def test_a_set_of_ids_with_a_gap_is_refused(self, fixed: Path) -> None:
        assert "has no CPU hotplug" in refused(fixed, 0, 1, 5).msg


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


class TestRefused:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        assert refused(tmp_path / "none.xml").code == GUEST_NOT_FOUND
        assert refused(tmp_path / "none" / "none.xml").code == GUEST_NOT_FOUND
        assert refused(tmp_path / "nul\0.xml").code == GUEST_NOT_FOUND

    def test_a_dangling_link(self, tmp_path: Path) -> None:
        (tmp_path / "link.xml").symlink_to("nowhere.xml")
        assert refused(tmp_path / "link.xml").code == GUEST_NOT_FOUND

    def test_a_link_to_itself(self, tmp_path: Path) -> None:
        (tmp_path / "link.xml").symlink_to("link.xml")
        assert refused(tmp_path / "link.xml").code == CONFIG_INVALID

    def test_a_path_that_is_no_regular_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo.xml")
        assert "is not a regular file" in refused(tmp_path / "fifo.xml").msg
        assert "is not a regular file" in refused(tmp_path).msg
        assert "is not a regular file" in refused(Path("/dev/zero")).msg

    def test_a_file_that_is_too_long(self, path: Path) -> None:
        with open(path, "ab") as handle:
            handle.truncate(1 << 40)
        with pytest.raises(HotplugError, match="longer than 4194304 bytes"):
            observe(path)

    def test_hostile_xml_with_the_files_name_and_the_line(self, path: Path) -> None:
        path.write_text(
            "\n<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><domain>&e;</domain>", encoding="utf-8"
        )
        error = refused(path, 0)
        assert error.code == CONFIG_INVALID
        assert error.msg.startswith(f"{path}: line 2 of the domain XML: it has a document type")

    def test_a_state_that_the_next_boot_would_refuse(self, path: Path) -> None:
        assert "vCPU 0 would be disabled" in refused(path, 1).msg
        path.write_text("<domain>\n<vcpu>2</vcpu><cpu><topology sockets='3' cores='1' threads='1'/></cpu></domain>")
        assert refused(path, 0).msg.startswith(f"{path}: line 2 of the domain XML: <topology> makes 3 vCPUs")

    def test_a_node_without_memory_unless_forced(self, path: Path) -> None:
        cells = "<cell cpus='0-1' memory='1'/><cell cpus='2-7' memory='0'/>"
        path.write_text(
            TWO_OF_EIGHT.replace("</domain>", f"<cpu><numa>{cells}</numa></cpu></domain>"), encoding="utf-8"
        )
        assert "which has no memory" in refused(path, 0, 1, 2).msg
        assert write(path, 0, 1, 2, forced=True).changed

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_that_may_not_be_read(self, path: Path) -> None:
        path.chmod(0)
        with pytest.raises(HotplugError, match="cannot be read") as caught:
            observe(path)
        assert caught.value.code == CONFIG_INVALID

    def test_an_owner_that_cannot_be_kept(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def denied(*_arguments: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "fchown", denied)
        real = os.fstat
        monkeypatch.setattr(os, "fstat", lambda number: os.stat_result((*real(number)[:4], number, *real(number)[5:])))
        error = refused(path, 0)
        assert error.code == CONFIG_INVALID
        assert "could not be kept" in error.msg
        assert listing(path) == ["web.xml"]

    def test_a_place_that_cannot_be_written(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_arguments: object, **_options: object) -> None:
            raise OSError(28, "No space left on device")

        for function in ("fsync", "replace"):
            with monkeypatch.context() as patched:
                patched.setattr(os, function, full)
                error = refused(path, 0, backup=True)
            assert error.code == CONFIG_INVALID
            assert "cannot be replaced (No space left on device), so it was not changed" in error.msg
            assert listing(path) == ["web.xml"]


def test_a_name_near_the_limit_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / ("w" * 251 + ".xml")
    path.write_text(TWO_OF_EIGHT, encoding="utf-8")
    assert write(path, 0).changed
    assert listing(path) == [path.name]
