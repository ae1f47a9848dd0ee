# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The OSPM guest's image: ospm.S assembled, kept as text in ospm.hex so that tests need no assembler.

After a change of ospm.S, `python3 -m lab.ospm_image` in tests/ writes ospm.hex anew; it needs GNU as and ld (Debian:
binutils).
"""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import tempfile

from . import LabError, packages

SOURCE = pathlib.Path(__file__).with_name("ospm.S")
HEX = SOURCE.with_suffix(".hex")
LOADED_AT = "0x100000"
SIZE = 0x10000
ROW = 32
# Where the source reserves room for the steps of the boot.
STEPS = slice(32, 32 + 60)
# Written in parts, because checks of licences take a whole one for that of this file.
HEADER = (
    "# SPDX-" + "FileCopyrightText: 2026 the kvm.hotplug authors\n"
    "# SPDX-" + "License-Identifier: GPL-3.0-or-later\n"
    """
# ospm.S assembled, by ospm_image.py: offsets and bytes, without the rows of zeros. Its source's SHA-256:
# {digest}

"""
)


def image(boot_steps: str) -> bytes:
    """Return the image of a guest that carries out these steps at boot."""
    data = bytearray(read())
    steps = boot_steps.encode("ascii")
    if len(steps) >= STEPS.stop - STEPS.start:
        raise LabError(f"the steps of the boot are too long: {boot_steps}")
    data[STEPS] = steps.ljust(STEPS.stop - STEPS.start, b"\0")
    return bytes(data)


def read() -> bytes:
    """Return the bytes that ospm.hex has."""
    data = bytearray(SIZE)
    for line in HEX.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            offset, _colon, row = line.partition(":")
            at = int(offset, 16)
            data[at : at + ROW] = bytes.fromhex(row)
    return bytes(data)


def digest() -> str:
    """Return the source's SHA-256."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()


def assembled_from() -> str:
    """Return the SHA-256 of the source that ospm.hex was assembled from."""
    return HEX.read_text(encoding="ascii").splitlines()[4].removeprefix("# ")


def can_assemble() -> bool:
    """Whether GNU as and ld are here."""
    return all(map(shutil.which, ("as", "ld")))


def assemble() -> bytes:
    """Assemble the source."""
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder, "ospm")
        packages.run(["as", "--32", "--fatal-warnings", "-o", f"{target}.o", SOURCE])
        flat = ("-m", "elf_i386", "-e", "header", "-Ttext", LOADED_AT, "--oformat", "binary")
        packages.run(["ld", *flat, "-o", target, f"{target}.o"])
        return target.read_bytes()


def as_text(data: bytes) -> str:
    """Return bytes in the form of ospm.hex."""
    rows = ((at, data[at : at + ROW]) for at in range(0, len(data), ROW))
    return HEADER.format(digest=digest()) + "".join(f"{at:04x}: {row.hex(' ', 4)}\n" for at, row in rows if any(row))


if __name__ == "__main__":
    HEX.write_text(as_text(assemble()), encoding="ascii")
