# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The unpacked programs of the laboratory run on any host of their distribution, whatever is installed there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from lab import LabError, binaries, image, packages
from lab.root import Root
from lab.software import releases, software

UNPACKED = [qemu for qemu in binaries.qemus() if qemu.root]
LINKED = re.compile(r"^\s*(\S+) => (not found|\S+)", re.MULTILINE)


def foreign_libraries(tree: Root, program: Path) -> set[str]:
    """Return what a program links to that is neither unpacked with it nor the host's C library."""
    if tree.loader is None:
        listed = packages.run(["ldd", program], env={**os.environ, **tree.environment})
        owned = subprocess.run(["dpkg", "-L", packages.C_LIBRARY], check=True, stdout=subprocess.PIPE, text=True).stdout
        given = {Path(line).name for line in owned.splitlines()}
    else:
        listed = packages.run([*tree.loading("--list"), program])
        given = set()
    return {name for name, path in LINKED.findall(listed) if name not in given and str(tree.folder) not in path}


@pytest.mark.parametrize("qemu", UNPACKED, ids=str)
def test_an_unpacked_qemu_links_only_to_unpacked_or_essential_libraries(qemu: binaries.Qemu) -> None:
    assert qemu.root is not None
    assert foreign_libraries(Root(qemu.root), qemu.path) == set()


@pytest.mark.parametrize("release", releases())
def test_an_unpacked_libvirt_links_only_to_unpacked_or_essential_libraries(release: str) -> None:
    found = software(release)
    driver = found.libraries / "libvirt/connection-driver/libvirt_driver_qemu.so"
    programs = [found.root / "usr/bin/virsh", found.root / "usr/sbin/libvirtd", driver, *found.bindings.glob("*.so")]
    assert {str(program): foreign_libraries(found.tree, program) for program in programs} == {
        str(program): set() for program in programs
    }


@pytest.mark.parametrize("place", ["boot/vmlinuz-6.1.0-1-amd64", "usr/lib/modules/7.2-amd64/vmlinuz", "boot/vmlinux-6"])
def test_the_kernel_is_found_in_its_packages(tmp_path: Path, place: str) -> None:
    kernel = tmp_path / place
    kernel.parent.mkdir(parents=True)
    kernel.touch()
    assert image.kernel_in(tmp_path) == kernel


def test_packages_without_a_kernel_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    with pytest.raises(LabError, match=r"the packages have no .*vmlinu"):
        image.kernel_in(tmp_path)


def test_an_unknown_release_is_named() -> None:
    with pytest.raises(LabError, match="no release bullseye: give one of distribution, backports, newest"):
        packages.Archive(release="bullseye")
