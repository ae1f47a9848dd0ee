# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt's programs, libraries and Python bindings, unpacked once and taught to leave the host's folders alone."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import re
import sys

from . import LabError, cache, packages

PACKAGES = ("libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients", "python3-libvirt", "python3-lxml")
# All that it links to and that is not installed; not the programs and services it recommends to itself.
BESIDE = r"lib.*"
# Its data and its helpers are looked for in these folders alone. In their stead come names of the same length for the
# folder it runs in.
ELSEWHERE = {b"/usr/share/libvirt": b"/proc/self/cwd/./.", b"/usr/lib/libvirt": b"/proc/self/cwd/."}
HELPER = """\
#!/bin/sh
export LD_LIBRARY_PATH=/proc/self/cwd/../../{libraries}
exec "../../lib/libvirt/${{0##*/}}" "$@"
"""

_LOADED: list[ctypes.CDLL] = []


@dataclasses.dataclass(frozen=True)
class Software:
    """One libvirt, below a folder."""

    root: pathlib.Path

    @property
    def libraries(self) -> pathlib.Path:
        """Its libraries, and all that they link to."""
        return self.root / "usr/lib" / f"{os.uname().machine}-linux-gnu"

    @property
    def bindings(self) -> pathlib.Path:
        """Its bindings, and lxml, for the distribution's Python."""
        return self.root / "usr/lib/python3/dist-packages"

    @property
    def data(self) -> pathlib.Path:
        """The folder its daemon has to run in."""
        return self.root / "usr/share/libvirt"

    @property
    def environment(self) -> dict[str, str]:
        """What its programs, and those of Python that use its bindings, need in their environment."""
        return {"LD_LIBRARY_PATH": os.fspath(self.libraries), "PYTHONPATH": os.fspath(self.bindings)}

    @functools.cached_property
    def version(self) -> tuple[int, ...]:
        """Its version."""
        told = packages.run([self.root / "usr/bin/virsh", "--version"], env=self.environment)
        return tuple(int(number) for number in told.strip().split("."))


def versions() -> tuple[bool, ...]:
    """Return the values of `backports` that there are here: both only where the distribution's own libvirt is old."""
    return (False, True) if packages.os_release()["VERSION_CODENAME"] == "bookworm" else (False,)


def software(backports: bool = False) -> Software:
    """Return the distribution's libvirt or that of its backports, downloading and unpacking it the first time."""
    with packages.locked("libvirt"):
        debs = packages.Archive(backports=backports).fetch(PACKAGES, BESIDE, beside_installed=True)
        names = [deb.name for deb in debs]
        recipe = hashlib.sha256(json.dumps(names).encode() + pathlib.Path(__file__).read_bytes()).hexdigest()
        name = next(name for name in names if name.startswith("libvirt-daemon_"))
        target = cache() / "libvirt" / f"{name[: -len('.deb')]}-{recipe[:16]}"
        if not target.exists():
            with packages.appearing(target) as folder:
                packages.unpack(debs, folder)
                _teach(Software(folder))
    return Software(target)


def _teach(found: Software) -> None:
    for library in found.libraries.glob("libvirt.so.0.*"):
        data = library.read_bytes()
        for path, same_length in ELSEWHERE.items():
            data = data.replace(path, same_length)
        library.write_bytes(data)
    for helper in (found.root / "usr/lib/libvirt").iterdir():
        script = found.data / helper.name
        script.write_text(HELPER.format(libraries=found.libraries.relative_to(found.root / "usr")), encoding="utf-8")
        script.chmod(0o755)
    # The others want services of the host: dnsmasq, udev, D-Bus.
    for driver in (found.libraries / "libvirt/connection-driver").glob("libvirt_driver_*.so"):
        if driver.name != "libvirt_driver_qemu.so":
            driver.unlink()


def bindings(backports: bool = False) -> bool:
    """Let this process import libvirt and libvirt_qemu, and tell whether it can: they are for one Python only."""
    if importlib.util.find_spec("libvirt"):
        return True
    found = software(backports)
    if not any((found.bindings / f"libvirtmod{end}").exists() for end in importlib.machinery.EXTENSION_SUFFIXES):
        return False
    for name in ("libvirt.so.0", "libvirt-qemu.so.0", "libvirt-lxc.so.0"):
        _load(found.libraries, name)
    sys.path.append(os.fspath(found.bindings))
    return True


def _load(folder: pathlib.Path, name: str) -> None:
    """Load a library, after those that it needs and that are not installed: once loaded, they are found by name."""
    while True:
        try:
            _LOADED.append(ctypes.CDLL(os.fspath(folder / name)))
            return
        except OSError as error:
            missing = re.match(r"(\S+): cannot open shared object file", str(error))
            if not missing or not (folder / missing.group(1)).exists():
                raise LabError(f"libvirt's bindings cannot be loaded: {error}") from error
            _load(folder, missing.group(1))
