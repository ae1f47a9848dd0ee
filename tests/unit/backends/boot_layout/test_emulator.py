# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The choice of the QEMU to start for a layout: never one that another user could have chosen or replaced."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.emulator import (
    emulator_of,
    other_writer,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import lay_out
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError

ANOTHER_UID = 12345


class Place:
    """A file of domain XML and the emulator it names, which leaves a mark when it is started."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / "started"
        self.xml_folder, self.bin_folder = folder / "xml", folder / "bin"
        for made in (self.xml_folder, self.bin_folder):
            made.mkdir(mode=0o755)
        self.binary = self.bin_folder / "qemu"
        self.binary.write_text(f"#!/bin/sh\ntouch {self.mark}\nexit 1\n", encoding="ascii")
        self.binary.chmod(0o755)
        self.xml = self.xml_folder / "guest.xml"
        self.xml.write_text(
            "<domain type='kvm'><vcpu>2</vcpu><os><type arch='x86_64' machine='unheard-of'>hvm</type></os>"
            f"<devices><emulator>{self.binary}</emulator></devices></domain>",
            encoding="ascii",
        )
        self.xml.chmod(0o644)

    def observe(self, emulator: str | None = None) -> HotplugError:
        """Look at the config, and return why its layout is not known."""

        async def derive_boot(domain: Domain):
            return await lay_out(domain, "auto", emulator, 5.0, str(self.xml))

        error = asyncio.run(XmlFile(str(self.xml), 5.0, derive_boot).observe()).layout_error
        assert error is not None
        return error


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def let_group_write(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o020)


def let_everybody_write(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o002)


def test_the_emulator_of_a_file_is_started_if_only_root_and_the_user_may_write(place: Place) -> None:
    assert place.observe().code == "backend_missing"
    assert place.mark.exists()


@pytest.mark.parametrize("name", ["xml", "xml_folder", "binary", "bin_folder"])
@pytest.mark.parametrize("change", [let_group_write, let_everybody_write])
def test_it_is_not_started_if_others_may_write(place: Place, name: str, change: Callable[[Path], None]) -> None:
    change(getattr(place, name))
    error = place.observe()
    assert error.code == "config_invalid"
    assert str(getattr(place, name)) in error.msg
    assert "emulator" in error.msg
    assert not place.mark.exists()


@pytest.mark.parametrize("name", ["xml", "binary"])
def test_it_is_not_started_if_another_user_owns_the_file(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        os.chown(getattr(place, name), ANOTHER_UID, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: ANOTHER_UID)
    assert "belongs to another user" in place.observe().msg
    assert not place.mark.exists()


def test_the_emulator_of_the_option_is_started_without_checks(place: Place) -> None:
    let_everybody_write(place.xml)
    assert place.observe(emulator=str(place.binary)).code == "backend_missing"
    assert place.mark.exists()


def test_a_link_in_a_folder_that_others_may_write_is_not_followed(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    link = folder / "qemu"
    link.symlink_to(os.path.relpath(place.binary, folder))
    assert other_writer(str(link)) is None
    let_group_write(folder)
    assert other_writer(str(link)) == f"{folder} may be written by its group"


def test_a_sticky_folder_keeps_others_from_replacing_a_file(place: Place) -> None:
    place.xml_folder.chmod(0o1777)
    assert other_writer(str(place.xml)) is None


def test_circular_links_are_not_followed_forever(tmp_path: Path) -> None:
    for name, target in (("one", "two"), ("two", "one")):
        (tmp_path / name).symlink_to(target)
    assert "too many symbolic links" in (other_writer(str(tmp_path / "one")) or "")


def test_a_missing_path_is_not_trusted(tmp_path: Path) -> None:
    assert "cannot be examined" in (other_writer(str(tmp_path / "none")) or "")


def test_a_file_that_names_the_hosts_own_qemu_needs_no_check(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    own = place.bin_folder / "qemu-system-x86_64"
    own.symlink_to("qemu")
    monkeypatch.setenv("PATH", str(place.bin_folder))
    let_everybody_write(place.xml)
    domain = Domain(1, frozenset({0}), arch="x86_64", emulator=str(place.binary))
    assert emulator_of(domain, None, str(place.xml)) == "qemu-system-x86_64"


def test_the_binary_that_libvirt_names_is_checked_too(place: Place) -> None:
    domain = Domain(1, frozenset({0}), arch="x86_64", emulator=str(place.binary))
    assert emulator_of(domain, None, None) == str(place.binary)
    let_group_write(place.binary)
    with pytest.raises(HotplugError):
        emulator_of(domain, None, None)


def test_the_emulator_of_a_remote_libvirt_is_not_started(place: Place) -> None:
    domain = Domain(1, frozenset({0}), arch="x86_64", machine="unheard-of", emulator=str(place.binary))
    assert emulator_of(domain, None, None, remote=True) == "qemu-system-x86_64"
    assert emulator_of(domain, str(place.binary), None, remote=True) == str(place.binary)
    with pytest.raises(HotplugError):
        asyncio.run(lay_out(domain._replace(max_vcpus=2), "auto", None, 5.0, remote=True))
    assert not place.mark.exists()


@pytest.mark.parametrize("arch", ["../../tmp/x", "x86 64", "a/b"])
def test_an_architecture_cannot_name_a_path(arch: str) -> None:
    with pytest.raises(HotplugError) as caught:
        emulator_of(Domain(1, frozenset({0}), arch=arch), None, None)
    assert caught.value.code == "config_invalid"
