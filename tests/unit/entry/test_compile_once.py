# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Importing the collection from an archive as Ansible ships it, in a Python of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

MODULE_UTILS = Path(__file__).absolute().parents[3] / "plugins" / "module_utils"
PACKAGE = "ansible_collections.kvm.hotplug.plugins.module_utils"

SCRIPT = """
import json, sys
compiled = []
def note(event, arguments):
    if event == "compile" and str(arguments[1]).startswith(sys.argv[1]):
        compiled.append(str(arguments[1])[len(sys.argv[1]) + 1:])
sys.addaudithook(note)
sys.path.insert(0, sys.argv[1])
from PACKAGE.entry import compile_once
for _ in range(int(sys.argv[2])):
    compile_once.install()
del compiled[:]
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive with some files of the collection, one that raises and one that does not compile."""
    path = tmp_path / "ansible_payload.zip"
    folder = PACKAGE.replace(".", "/")
    with zipfile.ZipFile(path, "w") as out:
        parents = [folder.rsplit("/", depth)[0] for depth in range(5)]
        for package in (*parents, f"{folder}/entry", f"{folder}/inner"):
            out.writestr(f"{package}/__init__.py", "")
        for name in ("entry/compile_once.py", "cpulist.py"):
            out.write(MODULE_UTILS / name, f"{folder}/{name}")
        out.writestr(f"{folder}/inner/deep.py", "def fail():\n    raise ValueError('here')\n")
        out.writestr(f"{folder}/broken.py", "def broken(:\n")
    return path


def run(archive: Path, code: str, installed: int = 1) -> subprocess.CompletedProcess[str]:
    script = (SCRIPT + code).replace("PACKAGE", PACKAGE)
    command = [sys.executable, "-I", "-c", script, str(archive), str(installed)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("installed", [1, 2])
def test_each_file_is_compiled_once(archive: Path, installed: int) -> None:
    done = run(
        archive, "from PACKAGE import cpulist\nimport PACKAGE.inner.deep\nprint(json.dumps(compiled))", installed
    )
    folder = PACKAGE.replace(".", "/")
    files = ["cpulist.py", "inner/__init__.py", "inner/deep.py"]
    assert sorted(json.loads(done.stdout)) == sorted(f"{folder}/{name}" for name in files), done.stderr


def test_without_it_each_file_is_compiled_twice(archive: Path) -> None:
    done = run(archive, "from PACKAGE import cpulist\nprint(json.dumps(compiled))", installed=0)
    file = f"{PACKAGE.replace('.', '/')}/cpulist.py"
    assert json.loads(done.stdout) == [file, file], done.stderr


def test_a_file_has_its_place_in_the_archive_and_its_lines_in_a_traceback(archive: Path) -> None:
    code = "import traceback\ntry:\n    deep.fail()\nexcept ValueError:\n    traceback.print_exc()"
    done = run(archive, f"from PACKAGE.inner import deep\nprint(deep.__file__, deep.__package__)\n{code}")
    file = f"{archive}/{PACKAGE.replace('.', '/')}/inner/deep.py"
    assert done.stdout.split() == [file, f"{PACKAGE}.inner"]
    assert f'File "{file}", line 2, in fail\n    raise ValueError(' in done.stderr


def test_a_file_that_is_missing_or_does_not_compile_is_an_error_as_always(archive: Path) -> None:
    missing = run(archive, "import PACKAGE.nothing")
    assert f"ModuleNotFoundError: No module named '{PACKAGE}.nothing'" in missing.stderr
    broken = run(archive, "import PACKAGE.broken")
    assert "SyntaxError" in broken.stderr
    assert "broken.py" in broken.stderr


def test_files_in_a_folder_are_imported_as_always(tmp_path: Path, archive: Path) -> None:
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    done = run(folder, "from PACKAGE import cpulist\nprint(type(cpulist.__loader__).__name__)")
    assert done.stdout.split() == ["SourceFileLoader"], done.stderr
