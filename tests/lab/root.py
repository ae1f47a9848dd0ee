# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unpacked packages, and how their programs run with their own libraries, the C library among them or not."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib


@dataclasses.dataclass(frozen=True)
class Root:
    """Packages unpacked below a folder; what they link to and do not have is the host's."""

    folder: pathlib.Path

    @property
    def libraries(self) -> pathlib.Path:
        """The folder of their libraries."""
        return self.folder / "usr/lib" / f"{os.uname().machine}-linux-gnu"

    @functools.cached_property
    def loader(self) -> pathlib.Path | None:
        """The loader of their own C library, None where they use the host's.

        A program finds its libraries only by the loader of the C library that it is linked to.
        """
        return next(iter(self.libraries.glob("ld-linux*.so.*")), None)

    def command(self, program: pathlib.Path) -> list[str]:
        """Return the command that starts one of their programs."""
        return [*self.loading(), os.fspath(program)]

    def loading(self, *options: str) -> list[str]:
        """Return the arguments before a program's path, with further options of the loader; none for the host's."""
        if self.loader is None:
            return []
        return [os.fspath(self.loader), "--inhibit-cache", "--library-path", os.fspath(self.libraries), *options]

    @property
    def environment(self) -> dict[str, str]:
        """What their programs need in their environment.

        With a C library of their own it is nothing: what they start in turn is the host's, and must not find it.
        """
        return {} if self.loader else {"LD_LIBRARY_PATH": os.fspath(self.libraries)}
