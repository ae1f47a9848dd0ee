# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The QEMUs there are: the distribution's own, and a newer one from its backports, unpacked beside it."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import re
import shutil

from . import LabError, cache, packages

PACKAGES = {"x86_64": "qemu-system-x86", "ppc64": "qemu-system-ppc"}
# Upgrading the QEMU for one architecture would upgrade those installed for others.
BESIDE = r"qemu-system-(common|data)|(?!qemu-system-).*"
UNPLUGS_WELL = (10, 0)


@dataclasses.dataclass(frozen=True)
class Qemu:
    """One QEMU: how to call it, and what it is."""

    path: pathlib.Path
    version: tuple[int, ...]
    root: pathlib.Path | None = None

    @property
    def command(self) -> list[str]:
        """The beginning of its command line."""
        words = [os.fspath(self.path)]
        if self.root:
            for data in ("usr/share/qemu", "usr/share/seabios"):
                words += ["-L", os.fspath(self.root / data)]
        return words

    @property
    def environment(self) -> dict[str, str]:
        """The environment it runs in."""
        if not self.root:
            return dict(os.environ)
        libraries = self.root / "usr/lib" / f"{os.uname().machine}-linux-gnu"
        return {**os.environ, "LD_LIBRARY_PATH": f"{libraries}", "QEMU_MODULE_DIR": f"{libraries / 'qemu'}"}

    def __str__(self) -> str:
        return "QEMU " + ".".join(str(number) for number in self.version)


@functools.cache
def _qemu(path: pathlib.Path, root: pathlib.Path | None = None) -> Qemu:
    bare = Qemu(path, (), root)
    told = packages.run([path, "--version"], env=bare.environment)
    found = re.search(r"version (\d+(?:\.\d+)+)", told)
    if not found:
        raise LabError(f"{path} does not tell its version: {told}")
    return Qemu(path, tuple(int(number) for number in found.group(1).split(".")), root)


def qemus(arch: str = "x86_64") -> list[Qemu]:
    """Return the QEMUs that are here for an architecture of guests, oldest first."""
    program = f"qemu-system-{arch}"
    installed = shutil.which(program)
    found = [_qemu(pathlib.Path(installed))] if installed else []
    for path in sorted((cache() / "qemu").glob(f"*/usr/bin/{program}")):
        found.append(_qemu(path, path.parents[2]))
    return sorted(found, key=lambda qemu: qemu.version)


def distribution(arch: str = "x86_64") -> Qemu:
    """Return the distribution's own QEMU."""
    return _choose(arch, [qemu for qemu in qemus(arch) if not qemu.root])


def newest(arch: str = "x86_64") -> Qemu:
    """Return the newest QEMU that is here."""
    return _choose(arch, qemus(arch))


def secluded(qemu: Qemu) -> Qemu:
    """Return a QEMU that is unpacked as one that never looks for its modules among those of the installed QEMU.

    It does so for modules that it does not have itself, which libvirt makes it look for, and it ends when it finds one.
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


def _choose(arch: str, found: list[Qemu]) -> Qemu:
    if not found:
        raise LabError(f"no QEMU for {arch} guests is here: run `python3 -m lab prepare` in tests/")
    return found[-1]


def prepare(arch: str = "x86_64") -> None:
    """Install the distribution's QEMU (for x86), and unpack that of its backports where that is much newer."""
    package = PACKAGES[arch]
    if arch == "x86_64" and not shutil.which(f"qemu-system-{arch}"):
        packages.install([package])
    backports = packages.os_release()["VERSION_CODENAME"] == "bookworm"
    with packages.locked(f"qemu-{arch}"):
        here = qemus(arch)
        if here and (here[-1].version >= UNPLUGS_WELL or not backports):
            return
        debs = packages.Archive(backports=backports).fetch([package], accept=BESIDE, beside_installed=True)
        name = next(deb.name for deb in debs if deb.name.startswith(f"{package}_"))
        with packages.appearing(cache() / "qemu" / name.replace("%3a", "-")[: -len(".deb")]) as folder:
            packages.unpack(debs, folder)
