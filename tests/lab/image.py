# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest: a distribution's kernel, and an initramfs of busybox, the guest agent and virtio, built once."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import lzma
import os
import pathlib
import re
import shutil
import stat
import tempfile

from . import LabError, cache, packages
from .architectures import ARCHITECTURES

INIT = pathlib.Path(__file__).with_name("init")
TOOLS = ("busybox-static", "qemu-guest-agent", "util-linux")
PROGRAMS = ("usr/sbin/qemu-ga", "usr/bin/chrt")
LIBRARIES = rf"{packages.LIBRARIES}|{packages.C_LIBRARY}"
# Which of its packages hold the kernel and its modules differs from release to release.
KERNEL_PARTS = r"linux-.*"
KERNEL_OF_UBUNTU = "linux-image-virtual"


@dataclasses.dataclass(frozen=True)
class Image:
    """The files for `-kernel` and `-initrd`."""

    kernel: pathlib.Path
    initramfs: pathlib.Path


def image(arch: str = "x86_64", release: str = packages.DISTRIBUTION, again: bool = False) -> Image:
    """Return the image for an architecture of guests, of a release's packages, building it the first time.

    `again` looks for newer packages first.
    """
    with packages.locked(f"image-{arch}"):
        found = ARCHITECTURES[arch]
        archive = packages.Archive(found.debian, release)
        kernel = archive.fetch([_kernel(arch)], KERNEL_PARTS, again)
        tools = archive.fetch(TOOLS, LIBRARIES, again)
        parts = [deb.name for deb in kernel + tools]
        recipe = hashlib.sha256(json.dumps(parts).encode() + INIT.read_bytes() + pathlib.Path(__file__).read_bytes())
        target = cache() / "images" / f"{arch}-{recipe.hexdigest()[:16]}"
        if not target.exists():
            print(f"building the image of {arch} guests of {release}", flush=True)
            with packages.appearing(target) as folder:
                _build(folder, kernel, tools, found.modules)
                (folder / "packages.json").write_text(json.dumps(parts, indent=1), encoding="utf-8")
    return Image(target / "vmlinuz", target / "initramfs")


def prepared(arch: str) -> bool:
    """Return whether the packages for the image of an architecture are here."""
    archive = packages.Archive(ARCHITECTURES[arch].debian)
    return archive.has([_kernel(arch)], KERNEL_PARTS) and archive.has(TOOLS, LIBRARIES)


def _kernel(arch: str) -> str:
    return KERNEL_OF_UBUNTU if packages.os_release()["ID"] == "ubuntu" else ARCHITECTURES[arch].kernel


def _build(
    folder: pathlib.Path, kernel: list[pathlib.Path], tools: list[pathlib.Path], modules: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        root = pathlib.Path(scratch)
        packages.unpack(kernel, root / "kernel")
        packages.unpack(tools, root / "tools")
        shutil.copy(kernel_in(root / "kernel"), folder / "vmlinuz")
        tree = _Tree()
        tree.add("init", INIT.read_bytes(), executable=True)
        tree.add("bin/busybox", _one(root / "tools", "*bin/busybox", "usr/bin/busybox").read_bytes(), executable=True)
        tree.add("bin/sh", b"busybox", link=True)
        _add_modules(tree, root / "kernel", modules)
        _add_programs(tree, root / "tools")
        (folder / "initramfs").write_bytes(gzip.compress(tree.cpio(), mtime=0))


def kernel_in(root: pathlib.Path) -> pathlib.Path:
    """Return the kernel among unpacked packages: in boot/, or since Debian 14 beside its modules."""
    return _one(root, "**/vmlinu[xz]*")


def _one(root: pathlib.Path, *patterns: str) -> pathlib.Path:
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            if path.is_file():
                return path
    raise LabError(f"the packages have no {' or '.join(patterns)}")


def _add_modules(tree: _Tree, root: pathlib.Path, modules: tuple[str, ...]) -> None:
    files = {re.sub(r"\.ko.*", "", path.name).replace("-", "_"): path for path in root.glob("**/*.ko*")}
    builtin = {
        pathlib.Path(line).stem.replace("-", "_") for line in _one(root, "**/modules.builtin").read_text().split()
    }
    order: list[str] = []

    def add(name: str) -> None:
        if name in builtin or name in order:
            return
        if name not in files:
            raise LabError(f"the guest's kernel has no module {name}")
        data = _module(files[name])
        needs = re.search(rb"\0depends=([^\0]*)\0", data)
        for need in filter(None, needs.group(1).decode().split(",") if needs else ()):
            add(need.replace("-", "_"))
        order.append(name)
        tree.add(f"modules/{name}.ko", data)

    for name in modules:
        add(name)
    tree.add("modules/order", "".join(f"{name}.ko\n" for name in order).encode())


def _module(path: pathlib.Path) -> bytes:
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        packages.run(["zstd", "-dq", path])
        path = path.with_suffix("")
    return path.read_bytes()


def _add_programs(tree: _Tree, root: pathlib.Path) -> None:
    """Add the programs, and the libraries their headers name, found by name: another architecture's cannot run here."""
    libraries = {path.name: path for path in root.glob("**/*.so*") if path.is_file()}
    waiting = []
    for program in PROGRAMS:
        path = _one(root, program)
        tree.add(f"bin/{path.name}", path.read_bytes(), executable=True)
        waiting.append(path)
    added: set[str] = set()
    while waiting:
        data = waiting.pop().read_bytes()
        for name in re.findall(rb"[\0/]((?:lib|ld)[\w.+-]*\.so[.\d]*)(?=\0)", data):
            library = libraries.get(name.decode())
            if library and library.name not in added:
                added.add(library.name)
                waiting.append(library)
                tree.add(f"lib/{library.name}", library.read_bytes(), executable=True)
    for folder in ("lib64", "usr/lib"):
        tree.add(folder, b"/lib", link=True)


class _Tree:
    """A tree of files, root's, as the kernel wants an initramfs."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, bytes]] = {}
        for folder in ("dev", "proc", "sys", "tmp", "run", "bin", "sbin"):
            self._folder(folder)

    def add(self, path: str, data: bytes, *, executable: bool = False, link: bool = False) -> None:
        """Add a file, or a symbolic link to `data`."""
        if "/" in path:
            self._folder(os.path.dirname(path))
        self._entries[path] = (stat.S_IFLNK | 0o777 if link else stat.S_IFREG | (0o755 if executable else 0o644), data)

    def _folder(self, path: str) -> None:
        if "/" in path:
            self._folder(os.path.dirname(path))
        self._entries.setdefault(path, (stat.S_IFDIR | 0o755, b""))

    def cpio(self) -> bytes:
        """Return the tree in cpio's `newc` format."""
        result = bytearray()
        console = ("dev/console", (stat.S_IFCHR | 0o600, b""), (5, 1))
        entries = [(path, entry, (0, 0)) for path, entry in self._entries.items()]
        trailer = ("TRAILER!!!", (0, b""), (0, 0))
        for number, (path, (mode, data), device) in enumerate([*entries, console, trailer], 1):
            name = path.encode() + b"\0"
            fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
            for part in (b"070701" + b"".join(b"%08X" % field for field in fields) + name, data):
                result += part
                result += bytes(-len(result) % 4)
        return bytes(result)
