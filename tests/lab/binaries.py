# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The available QEMUs: the distribution's own, that of its backports, and Debian's newest, unpacked separately."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import re
import shutil

from . import LabError, cache, packages
from .architectures import ARCHITECTURES
from .root import Root

# Its firmware, and what it links to.
BESIDE = rf"qemu-system-(common|data)|qemu-slof|seabios|ipxe-qemu|openbios-ppc|{packages.LIBRARIES}"
FIRMWARE = ("usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu")
UNPLUGS_WELL = (10, 0)
# The release whose QEMU all guests get that are not given another.
CHOICE = "KVM_HOTPLUG_QEMU"


@dataclasses.dataclass(frozen=True)
class Qemu:
    """One QEMU: how to call it, and what it is."""

    path: pathlib.Path
    version: tuple[int, ...]
    root: pathlib.Path | None = None

    @property
    def command(self) -> list[str]:
        """The beginning of its command line."""
        if not self.root:
            return [os.fspath(self.path)]
        words = Root(self.root).command(self.path)
        for data in FIRMWARE:
            words += ["-L", os.fspath(self.root / data)]
        return words

    @property
    def variables(self) -> dict[str, str]:
        """What it needs in its environment, besides that of this process."""
        if not self.root:
            return {}
        tree = Root(self.root)
        return {**tree.environment, "QEMU_MODULE_DIR": os.fspath(tree.libraries / "qemu")}

    @property
    def environment(self) -> dict[str, str]:
        """The environment it runs in."""
        return {**os.environ, **self.variables}

    def __str__(self) -> str:
        return "QEMU " + ".".join(str(number) for number in self.version)


@functools.cache
def _qemu(path: pathlib.Path, root: pathlib.Path | None = None) -> Qemu:
    bare = Qemu(path, (), root)
    told = packages.run([*bare.command, "--version"], env=bare.environment)
    found = re.search(r"version (\d+(?:\.\d+)+)", told)
    if not found:
        raise LabError(f"{path} does not tell its version: {told}")
    return Qemu(path, tuple(int(number) for number in found.group(1).split(".")), root)


def qemus(arch: str = "x86_64") -> list[Qemu]:
    """Return the QEMUs that tests run on here for an architecture of guests, oldest first."""
    release = os.environ.get(CHOICE)
    if release:
        return _of_release(release, arch)[-1:]
    return _of_release(packages.BACKPORTS, arch)


def distribution(arch: str = "x86_64") -> Qemu:
    """Return the distribution's own QEMU."""
    return of_release(packages.DISTRIBUTION, arch)


def default(arch: str = "x86_64") -> Qemu:
    """Return the QEMU that guests get: the newest of the distribution and its backports, unless another is chosen."""
    return of_release(os.environ.get(CHOICE) or packages.BACKPORTS, arch)


def of_release(release: str, arch: str = "x86_64") -> Qemu:
    """Return the QEMU of a release; where the distribution's own is not old, that also stands for its backports."""
    found = _of_release(release, arch)
    if not found:
        how = " --newest" if release == packages.NEWEST else ""
        raise LabError(f"no such QEMU for {arch} guests is here: run `python3 -m lab prepare{how}` in tests/")
    return found[-1]


def _of_release(release: str, arch: str) -> list[Qemu]:
    """Return the QEMUs that a release may have, oldest first."""
    if release == packages.NEWEST:
        return _unpacked(packages.NEWEST, arch)
    unpacked = _unpacked(packages.BACKPORTS, arch)
    if release == packages.DISTRIBUTION:
        return _installed(arch) or unpacked[:1]
    return sorted([*_installed(arch), *unpacked], key=lambda qemu: qemu.version)


def resolve(qemu: Qemu | str | None, arch: str = "x86_64") -> Qemu:
    """Return a QEMU itself, that of a release by the release's name, or the default for None."""
    if isinstance(qemu, Qemu):
        return qemu
    return of_release(qemu, arch) if qemu else default(arch)


def _installed(arch: str) -> list[Qemu]:
    found = shutil.which(f"qemu-system-{arch}")
    return [_qemu(pathlib.Path(found))] if found else []


def _unpacked(release: str, arch: str) -> list[Qemu]:
    paths = _folder(release).glob(f"*/usr/bin/qemu-system-{arch}")
    return sorted((_qemu(path, path.parents[2]) for path in paths), key=lambda qemu: qemu.version)


def secluded(qemu: Qemu) -> Qemu:
    """Return an unpacked QEMU that never loads modules of the installed QEMU.

    It would search there for modules that it lacks and that libvirt requests, and would end if it found one.
    """
    if not qemu.root:
        return qemu
    own = qemu.path.with_name(f"{qemu.path.name}-secluded")
    with packages.locked("qemu-secluded"):
        if not own.exists():
            modules = f"/usr/lib/{os.uname().machine}-linux-gnu/qemu\0".encode()
            nowhere = modules.replace(b"/qemu\0", b"/none\0")
            new = own.with_name(f".{own.name}")
            new.write_bytes(qemu.path.read_bytes().replace(modules, nowhere))
            new.chmod(0o755)
            new.rename(own)
    return dataclasses.replace(qemu, path=own)


def prepare(arch: str = "x86_64") -> None:
    """Install the distribution's QEMU (for x86), and unpack that of its backports where that is much newer."""
    if arch == "x86_64" and not shutil.which(f"qemu-system-{arch}"):
        packages.install([ARCHITECTURES[arch].qemu])
    backports = packages.os_release()["VERSION_CODENAME"] == "bookworm"
    with packages.locked(f"qemu-{arch}"):
        here = _of_release(packages.BACKPORTS, arch)
        if here and (here[-1].version >= UNPLUGS_WELL or not backports):
            return
        _unpack(arch, packages.BACKPORTS if backports else packages.DISTRIBUTION)


def prepare_newest(arch: str = "x86_64") -> None:
    """Unpack the newest QEMU of Debian's, with the C library that it needs, unless it is here."""
    with packages.locked(f"qemu-{arch}"):
        _unpack(arch, packages.NEWEST)


def _folder(release: str) -> pathlib.Path:
    """Return the folder of the unpacked QEMUs; that of backports has the distribution's own that are not installed."""
    return cache() / ("qemu-newest" if release == packages.NEWEST else "qemu-unpacked")


def _unpack(arch: str, release: str) -> None:
    accept = rf"{BESIDE}|{packages.C_LIBRARY}" if release == packages.NEWEST else BESIDE
    found = ARCHITECTURES[arch]
    debs = packages.Archive(release=release).fetch(
        [found.qemu, *found.firmware], accept, again=release == packages.NEWEST
    )
    name = next(deb.stem for deb in debs if deb.name.startswith(f"{found.qemu}_")).replace("%3a", "-")
    target = _folder(release) / name
    if not target.exists():
        with packages.appearing(target) as new:
            packages.unpack(debs, new)
