# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running without our rights: as nobody, if we are root."""

from __future__ import annotations

import os
import pathlib
import shutil
import typing as t

NOBODY = 65534


def user() -> dict[str, t.Any]:
    """Return the options of `subprocess.Popen` that take our rights away."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def give(*paths: pathlib.Path) -> None:
    """Let files or folders be that user's own."""
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, NOBODY, NOBODY)


def lend(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Return a file or a tree that that user can read: itself, or a copy in a folder open to all."""
    found = path.resolve()
    wanted = 0o005 if found.is_dir() else 0o004
    if os.geteuid() != 0:
        return path
    if found.stat().st_mode & wanted == wanted and all(parent.stat().st_mode & 0o001 for parent in found.parents):
        return path
    copy = folder / path.name
    if not copy.exists():
        if found.is_dir():
            shutil.copytree(found, copy, symlinks=True)
        else:
            shutil.copy(found, copy)
        copy.chmod(copy.stat().st_mode | wanted)
    return copy
