# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which file of plugins/ imports which, read from the source and never by importing it."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

PLUGINS = Path(__file__).absolute().parents[3] / "plugins"
PACKAGE = "ansible_collections.kvm.hotplug.plugins."
MODULE_UTILS = "module_utils/"


class Import(NamedTuple):
    """One import statement of a file.

    ``importer`` and, for a file of ours, ``imported`` are paths below plugins/, without the leading ``module_utils/``.
    ``library`` is the top-level name of a foreign package, empty for a file of ours. ``at_load`` says whether the
    statement runs when the file is loaded: not inside a function, and not only for annotations.
    """

    importer: str
    imported: str
    library: str
    at_load: bool


def source_files() -> list[Path]:
    """Return the Python files of plugins/."""
    return sorted(PLUGINS.rglob("*.py"))


def name_of(path: Path) -> str:
    """Return what a file is called in an ``Import``."""
    name = path.relative_to(PLUGINS).as_posix()
    return name[len(MODULE_UTILS) :] if name.startswith(MODULE_UTILS) else name


def package_of(name: str) -> str:
    """Return the package of a file: its folder, or ``shared`` for the files directly in module_utils/."""
    folder = PurePosixPath(name).parent.as_posix()
    return "shared" if folder == "." else folder


@functools.cache
def all_imports() -> tuple[Import, ...]:
    """Return the imports of all files of plugins/."""
    files = ((path.read_text(encoding="utf-8"), name_of(path)) for path in source_files())
    return tuple(found for source, name in files for found in imports_of(source, name))


def imports_of(source: str, importer: str) -> list[Import]:
    """Return the imports of one file's source."""
    return list(_imports(ast.parse(source), importer, at_load=True))


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the sets of files that reach each other, each sorted; empty when the imports have no circle."""
    reach = {start: reachable(start, edges) for start in edges}
    found = {tuple(sorted({end for end in reach[start] if start in reach.get(end, ())})) for start in reach}
    return [list(circle) for circle in sorted(found) if circle]


def reachable(start: str, edges: dict[str, set[str]]) -> set[str]:
    """Return the files that a file imports, directly or indirectly; ``edges`` has the direct imports of each."""
    seen: set[str] = set()
    waiting = list(edges.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(edges.get(name, ()))
    return seen


def _imports(node: ast.AST, importer: str, at_load: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield _found(importer, alias.name, "", at_load)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                yield _found(importer, _absolute(child, importer), alias.name, at_load)
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _only_annotates(child)
            yield from _imports(child, importer, at_load and not inside)


def _absolute(statement: ast.ImportFrom, importer: str) -> str:
    if not statement.level:
        return statement.module or ""
    path = PurePosixPath(importer if (PLUGINS / importer).exists() else MODULE_UTILS + importer)
    package = path.parents[statement.level - 1].as_posix().replace("/", ".")
    return f"{PACKAGE}{package}.{statement.module}" if statement.module else f"{PACKAGE}{package}"


def _only_annotates(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _found(importer: str, module: str, attribute: str, at_load: bool) -> Import:
    if not module.startswith(PACKAGE):
        return Import(importer, "", module.partition(".")[0], at_load)
    path = PLUGINS / module[len(PACKAGE) :].replace(".", "/")
    for candidate in (path / f"{attribute}.py", path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return Import(importer, name_of(candidate), "", at_load)
    raise ValueError(f"{importer}: no file is imported by the name {module}.{attribute}")
