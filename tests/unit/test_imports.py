# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rooms of plugins/: which may import which, and which foreign packages each of them may use.

That annotation-only imports stand under TYPE_CHECKING is checked by ruff's TC001.
"""

from __future__ import annotations

from .support.source_imports import PLUGINS, all_imports, circles, imports_of, room_of, source_files

# From the ground up: a room imports itself and the rooms named beside it, which all stand above it in this table.
ROOMS: dict[str, tuple[str, ...]] = {
    "ground": (),
    "request": ("ground",),
    "ports": ("ground",),
    "planner": ("ground", "request"),
    "run": ("ground", "request", "ports", "planner"),
    "report": ("ground", "run"),
    "backends/qemu": ("ground", "ports"),
    "backends/qmp": ("ground", "ports", "backends/qemu"),
    "backends/guest_agent": ("ground", "ports", "backends/qemu"),
    "backends/domain_xml": ("ground", "ports", "backends/qemu"),
    "backends/boot_layout": ("ground", "ports", "backends/qemu", "backends/qmp", "backends/domain_xml"),
    "backends/libvirt": (
        "ground", "ports", "backends/qemu", "backends/guest_agent", "backends/domain_xml", "backends/boot_layout",
    ),
    "backends": (
        "ground", "request", "ports", "backends/qemu", "backends/qmp", "backends/guest_agent", "backends/domain_xml",
        "backends/boot_layout", "backends/libvirt",
    ),
    "entry": ("ground", "request", "ports", "planner", "run", "report", "backends"),
    "plugin_utils": ("ground", "request"),
    "modules": ("request", "entry"),
    "filter": ("ground", "plugin_utils"),
    "inventory": ("ground", "request", "ports", "run", "report", "backends", "entry", "plugin_utils"),
    "doc_fragments": (),
}  # fmt: skip

# The packages that are not Python's own. What only some runs need must not be loaded with the file.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "ansible": ("request", "entry", "plugin_utils", "modules", "filter", "inventory"),
    "lxml": ("backends/domain_xml",),
    "qemu": ("backends/qemu", "backends/qmp", "backends/guest_agent"),
    "libvirt": ("backends/libvirt",),
    "libvirt_qemu": ("backends/libvirt",),
}
LOADED_WHEN_NEEDED = ("lxml", "qemu", "libvirt", "libvirt_qemu")


def test_every_folder_of_plugins_is_a_room():
    folders = {room_of(found.importer) for found in all_imports()}
    assert folders - ROOMS.keys() == set()


def test_the_table_has_no_arrow_upwards():
    order = list(ROOMS)
    upwards = {
        (room, other) for room, others in ROOMS.items() for other in others if order.index(other) >= order.index(room)
    }
    assert upwards == set()


def test_rooms_import_only_the_rooms_they_may():
    broken = {
        (found.importer, found.imported)
        for found in all_imports()
        if found.imported and not _may_import(room_of(found.importer), room_of(found.imported))
    }
    assert broken == set(), "these imports break the rules"


def test_no_file_imports_itself_on_the_way():
    edges: dict[str, set[str]] = {}
    for found in all_imports():
        if found.imported:
            edges.setdefault(found.importer, set()).add(found.imported)
    assert circles(edges) == []


def test_foreign_packages_stay_in_their_rooms():
    strays = {
        (found.importer, found.library)
        for found in all_imports()
        if found.library in LIBRARIES and room_of(found.importer) not in LIBRARIES[found.library]
    }
    assert strays == set()


def test_heavy_packages_are_loaded_only_when_needed():
    loaded = {
        (found.importer, found.library)
        for found in all_imports()
        if found.library in LOADED_WHEN_NEEDED and found.at_load
    }
    assert loaded == set()


def test_packages_re_export_nothing():
    filled = [path for path in source_files() if path.name == "__init__.py" and path.read_text(encoding="utf-8")]
    assert filled == []


def test_every_folder_with_python_files_is_a_package():
    folders = {path.parent for path in (PLUGINS / "module_utils").rglob("*.py")} - {PLUGINS / "module_utils"}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_the_reader_tells_where_an_import_stands():
    source = (
        "import lxml.etree\nif TYPE_CHECKING:\n    import libvirt\ndef late():\n    from qemu.qmp import QMPClient\n"
    )
    found = [(one.library, one.at_load) for one in imports_of(source, "run/x.py")]
    assert found == [("lxml", True), ("libvirt", False), ("qemu", False)]


def test_circles_of_any_length_are_found():
    edges = {"a": {"b"}, "b": {"c"}}
    assert circles(edges) == []
    assert circles({**edges, "c": {"a"}}) == [["a", "b", "c"]]


def _may_import(importer: str, imported: str) -> bool:
    return imported == importer or imported in ROOMS[importer]
