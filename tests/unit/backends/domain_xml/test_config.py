# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The config port on a file: what is observed and written."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFIG_INVALID,
    GUEST_NOT_FOUND,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, GuestFacts, Layout

from ...support.domains import RFC_EXAMPLE, derive_boot
from ...support.xml_files import TWO_OF_EIGHT, listing, observe, refused, write


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
