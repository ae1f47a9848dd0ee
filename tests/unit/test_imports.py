# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packages of plugins/: which may import which, and which libraries each of them may use.

ruff's TC001 checks that imports for annotations are under TYPE_CHECKING.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .support.source_imports import PLUGINS, all_imports, circles, imports_of, package_of, reachable, source_files

REAL = Path(__file__).absolute().parents[1] / "real"

# A package imports itself and the packages named in its row, all of which are in rows above it.
PACKAGES: dict[str, tuple[str, ...]] = {
    "shared": (),
    "request": ("shared",),
    "ports": ("shared",),
    "planner": ("shared", "request"),
    "run": ("shared", "request", "ports", "planner"),
    "report": ("shared", "run"),
    "backends/qemu": ("shared", "ports"),
    "backends/host": ("shared", "ports"),
    "backends/qmp": ("shared", "ports", "backends/qemu"),
    "backends/guest_agent": ("shared", "ports", "backends/qemu"),
    "backends/domain_xml": ("shared", "ports", "backends/qemu"),
    "backends/boot_layout": ("shared", "ports", "backends/qemu", "backends/qmp", "backends/domain_xml"),
    "backends/libvirt": (
        "shared", "ports", "backends/qemu", "backends/host", "backends/guest_agent", "backends/domain_xml",
        "backends/boot_layout",
    ),
    "backends": (
        "shared", "request", "ports", "backends/qemu", "backends/host", "backends/qmp", "backends/guest_agent",
        "backends/domain_xml", "backends/boot_layout", "backends/libvirt",
    ),
    "entry": ("shared", "request", "ports", "planner", "run", "report", "backends"),
    "plugin_utils": ("shared", "request"),
    "plugin_utils/page": ("shared", "plugin_utils"),
    "plugin_utils/events": (
        "shared", "request", "backends/qemu", "backends/host", "backends/qmp", "backends/libvirt",
    ),
    "modules": ("request", "entry"),
    "action": ("plugin_utils",),
    "callback": ("plugin_utils",),
    "filter": ("shared", "plugin_utils", "plugin_utils/page"),
    "inventory": ("shared", "request", "ports", "run", "report", "backends", "entry", "plugin_utils"),
    "doc_fragments": (),
}  # fmt: skip

# Libraries other than Python's own. Those that only some runs need must not be loaded with the file.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "ansible": ("request", "entry", "plugin_utils", "modules", "action", "callback", "filter", "inventory"),
    "jinja2": ("plugin_utils/page",),
    "lxml": ("backends/domain_xml",),
    "qemu": ("backends/qemu", "backends/qmp", "backends/guest_agent"),
    "libvirt": ("backends/libvirt",),
    "libvirt_qemu": ("backends/libvirt",),
}
LOADED_WHEN_NEEDED = ("lxml", "qemu", "libvirt", "libvirt_qemu")

# What is loaded by every task of a module, also one with nothing to do, for a guest not managed by libvirt.
LOADED_BY_EVERY_TASK = {
    "vcpu": ("entry/vcpu.py", "backends/qmp/machine.py"),
    "vcpu_batch": ("entry/vcpu_batch.py", "backends/qmp/machine.py"),
    "vcpu_info": ("entry/vcpu_info.py", "backends/qmp/reader.py"),
}
# What only a change needs, or only some requests and guests. Python compiles each of them in each task that imports it.
NEEDED_BY_SOME_TASKS = {
    "backends/host/bandwidth.py", "backends/host/placer.py", "backends/qemu/handshake.py",
    "backends/qemu/ost_tracker.py", "backends/qmp/removals.py", "backends/qmp/unplug_request.py",
    "planner/boot_vcpus.py", "planner/capacity.py", "planner/guards.py", "planner/maximum.py", "planner/placement.py",
    "planner/prediction.py", "run/agent_steps.py", "run/apply.py", "run/change.py", "run/checks.py",
    "run/config_steps.py", "run/journal.py", "run/live_steps.py", "run/online.py", "run/overcommit.py",
    "run/placement_steps.py",
}  # fmt: skip


def test_every_folder_of_plugins_is_in_the_table():
    folders = {package_of(found.importer) for found in all_imports()}
    assert folders - PACKAGES.keys() == set()


def test_the_table_has_no_upward_imports():
    order = list(PACKAGES)
    upwards = {
        (package, other)
        for package, others in PACKAGES.items()
        for other in others
        if order.index(other) >= order.index(package)
    }
    assert upwards == set()


def test_packages_import_only_allowed_packages():
    broken = {
        (found.importer, found.imported)
        for found in all_imports()
        if found.imported and not _may_import(package_of(found.importer), package_of(found.imported))
    }
    assert broken == set(), "these imports break the rules"


def test_no_file_imports_itself_indirectly():
    edges: dict[str, set[str]] = {}
    for found in all_imports():
        if found.imported:
            edges.setdefault(found.importer, set()).add(found.imported)
    assert circles(edges) == []


def test_libraries_are_imported_only_where_allowed():
    strays = {
        (found.importer, found.library)
        for found in all_imports()
        if found.library in LIBRARIES and package_of(found.importer) not in LIBRARIES[found.library]
    }
    assert strays == set()


def test_heavy_packages_are_loaded_only_when_needed():
    loaded = {
        (found.importer, found.library)
        for found in all_imports()
        if found.library in LOADED_WHEN_NEEDED and found.at_load
    }
    assert loaded == set()


@pytest.mark.parametrize("module", LOADED_BY_EVERY_TASK)
def test_a_task_with_nothing_to_do_loads_nothing_that_only_a_change_needs(module):
    edges: dict[str, set[str]] = {}
    for found in all_imports():
        if found.imported and found.at_load:
            edges.setdefault(found.importer, set()).add(found.imported)
    loaded = set().union(*(reachable(start, edges) for start in LOADED_BY_EVERY_TASK[module]))
    assert loaded & NEEDED_BY_SOME_TASKS == set()


def test_the_files_that_only_some_tasks_need_exist():
    assert NEEDED_BY_SOME_TASKS - {found.importer for found in all_imports()} == set()


def test_packages_re_export_nothing():
    filled = [path for path in source_files() if path.name == "__init__.py" and path.read_text(encoding="utf-8")]
    assert filled == []


def test_every_folder_with_python_files_is_a_package():
    folders = {path.parent for path in (PLUGINS / "module_utils").rglob("*.py")} - {PLUGINS / "module_utils"}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_the_reader_returns_the_context_of_an_import():
    source = (
        "import lxml.etree\nif TYPE_CHECKING:\n    import libvirt\ndef late():\n    from qemu.qmp import QMPClient\n"
    )
    found = [(one.library, one.at_load) for one in imports_of(source, "run/x.py")]
    assert found == [("lxml", True), ("libvirt", False), ("qemu", False)]


def test_circles_of_any_length_are_found():
    edges = {"a": {"b"}, "b": {"c"}}
    assert circles(edges) == []
    assert circles({**edges, "c": {"a"}}) == [["a", "b", "c"]]


def test_the_files_that_the_real_tests_import_exist():
    missing = [
        f"{path.relative_to(REAL)}: {found}"
        for path in sorted(REAL.rglob("*.py"))
        for found in re.findall(r"^ *from \.([a-z_.]+) import ", path.read_text(encoding="utf-8"), re.MULTILINE)
        if not path.parent.joinpath(*found.split(".")).with_suffix(".py").exists()
    ]
    assert missing == []


def _may_import(importer: str, imported: str) -> bool:
    return imported == importer or imported in PACKAGES[importer]
