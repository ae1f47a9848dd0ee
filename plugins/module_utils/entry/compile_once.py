# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import the files of this collection from the archive that Ansible ships, and compile each of them only once.

Such an archive has no bytecode, and Python's ``zipimport`` compiles each file twice: to find its name, and to load it.
That took a quarter of the time in which a module that changes nothing runs longer than ``ansible.builtin.ping``.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from zipimport import ZipImportError, zipimporter

# The collection, wherever this file belongs to.
_COLLECTION = __name__.partition(".plugins.")[0] + "."


class _Finder:
    """A finder of ``sys.meta_path``, without the base class for it, whose import takes some milliseconds."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_COLLECTION) or not path:
            return None
        archive = pkgutil.get_importer(path[0])
        if not isinstance(archive, zipimporter):
            return None
        try:
            is_package = archive.is_package(fullname)
        except ZipImportError:
            return None
        place = f"{path[0]}/{fullname.rpartition('.')[2]}"
        origin = f"{place}/__init__.py" if is_package else f"{place}.py"
        # Python takes it as a loader, although it is not of the class of loaders that mypy requires.
        spec = ModuleSpec(fullname, archive, origin=origin, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [place]
        return spec


def install() -> None:
    """Import the collection's files this way from now on, if they are in an archive."""
    is_archived = __spec__ is not None and isinstance(__spec__.loader, zipimporter)
    if is_archived and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        # Only before the finder that would compile them twice: others may have to be asked first.
        sys.meta_path.insert(sys.meta_path.index(PathFinder), _Finder())
