# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt's programs, libraries and Python bindings, unpacked once and kept away from the host's folders."""

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
from . import root as roots
from .root import Root

PACKAGES = (
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "libvirt-clients",
    "python3-libvirt",
    "python3-lxml",
    "libsasl2-modules",
    "sasl2-bin",
)
# The bindings are for the Python of their own release, which the newest has to bring along with its C library.
PYTHON = rf"|{packages.C_LIBRARY}|python3(\.\d+)?(-minimal)?"
# Its data and its helpers are looked for in these folders alone. In their stead come names of the same length for the
# folder it runs in.
ELSEWHERE = {b"/usr/share/libvirt": b"/proc/self/cwd/./.", b"/usr/lib/libvirt": b"/proc/self/cwd/."}
HELPER = """\
#!/bin/sh
{export}
exec {loading} "../../lib/libvirt/${{0##*/}}" "$@"
"""
INTERPRETER = """\
#!/bin/sh
root=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
export PYTHONHOME="$root/usr"
exec "$root/{loader}" --inhibit-cache --library-path "$root/{libraries}" --argv0 "$0" "$root/{python}" "$@"
"""

_LOADED: list[ctypes.CDLL] = []


@dataclasses.dataclass(frozen=True)
class Software:
    """One libvirt, below a folder."""

    root: pathlib.Path

    @property
    def tree(self) -> Root:
        """What is unpacked there."""
        return Root(self.root)

    @property
    def libraries(self) -> pathlib.Path:
        """Its libraries, and all that they link to."""
        return self.tree.libraries

    @property
    def python(self) -> str:
        """The interpreter that the bindings are for: the distribution's, or one of its own."""
        own = self.root / "usr/bin/python3-own"
        return os.fspath(own) if own.exists() else "/usr/bin/python3"

    @property
    def bindings(self) -> pathlib.Path:
        """Its bindings, and lxml, for the Python of its release."""
        return self.root / "usr/lib/python3/dist-packages"

    @property
    def data(self) -> pathlib.Path:
        """The folder its daemon has to run in."""
        return self.root / "usr/share/libvirt"

    @property
    def environment(self) -> dict[str, str]:
        """What its programs, and those of Python that use its bindings, need in their environment."""
        mechanisms = os.fspath(self.libraries / "sasl2")
        return {**self.tree.environment, "PYTHONPATH": os.fspath(self.bindings), "SASL_PATH": mechanisms}

    def command(self, program: str) -> list[str]:
        """Return the command that starts one of its programs, such as ``usr/bin/virsh``, in its environment."""
        return self.tree.command(self.root / program)

    @functools.cached_property
    def version(self) -> tuple[int, ...]:
        """Its version."""
        told = packages.run([*self.command("usr/bin/virsh"), "--version"], env=self.environment)
        return tuple(int(number) for number in told.strip().split("."))


def releases() -> tuple[str, ...]:
    """Return the releases whose libvirts tests run on here; of backports only where the distribution's own is old."""
    chosen = os.environ.get("KVM_HOTPLUG_LIBVIRT")
    if chosen:
        return (chosen,)
    old = packages.os_release()["VERSION_CODENAME"] == "bookworm"
    return (packages.DISTRIBUTION, packages.BACKPORTS) if old else (packages.DISTRIBUTION,)


def software(release: str = packages.DISTRIBUTION, again: bool = False) -> Software:
    """Return the libvirt of a release, downloading and unpacking it the first time; `again` looks for a newer one."""
    with packages.locked("libvirt"):
        accept = packages.LIBRARIES + (PYTHON if release == packages.NEWEST else "")
        debs = packages.Archive(release=release).fetch(PACKAGES, accept, again)
        names = [deb.name for deb in debs]
        sources = pathlib.Path(__file__), pathlib.Path(roots.__file__)
        recipe = hashlib.sha256(json.dumps(names).encode() + b"".join(file.read_bytes() for file in sources))
        name = next(name for name in names if name.startswith("libvirt-daemon_"))
        target = cache() / "libvirt" / f"{name[: -len('.deb')]}-{recipe.hexdigest()[:16]}"
        if not target.exists():
            with packages.appearing(target) as folder:
                packages.unpack(debs, folder)
                _adapt(Software(folder))
    return Software(target)


def _adapt(found: Software) -> None:
    """Let libvirt find its data and its helpers below its own folder, and nothing want services of the host."""
    for library in found.libraries.glob("libvirt.so.0.*"):
        data = library.read_bytes()
        for path, same_length in ELSEWHERE.items():
            data = data.replace(path, same_length)
        library.write_bytes(data)
    for helper in (found.root / "usr/lib/libvirt").iterdir():
        _write_script(found.data / helper.name, _helper(found))
    # The others want services of the host: dnsmasq, udev, D-Bus.
    for driver in (found.libraries / "libvirt/connection-driver").glob("libvirt_driver_*.so"):
        if driver.name != "libvirt_driver_qemu.so":
            driver.unlink()
    if found.tree.loader:
        interpreter = INTERPRETER.format(
            loader=found.tree.loader.relative_to(found.root),
            libraries=found.libraries.relative_to(found.root),
            python=(found.root / "usr/bin/python3").resolve().relative_to(found.root.resolve()),
        )
        _write_script(found.root / "usr/bin/python3-own", interpreter)


def _helper(found: Software) -> str:
    """A helper runs in the data folder, and the tree may have been copied since."""
    libraries = f"/proc/self/cwd/../../{found.libraries.relative_to(found.root / 'usr')}"
    if found.tree.loader is None:
        return HELPER.format(export=f"export LD_LIBRARY_PATH={libraries}", loading="")
    loader = f"{libraries}/{found.tree.loader.name}"
    return HELPER.format(export="", loading=f"{loader} --inhibit-cache --library-path {libraries}")


def _write_script(path: pathlib.Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def bindings(release: str = packages.DISTRIBUTION) -> bool:
    """Make libvirt and libvirt_qemu importable in this process, and return whether that works: they fit one Python."""
    if importlib.util.find_spec("libvirt"):
        return True
    found = software(release)
    fits = any((found.bindings / f"libvirtmod{end}").exists() for end in importlib.machinery.EXTENSION_SUFFIXES)
    if not fits or found.tree.loader:
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
