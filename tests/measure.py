# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure which branches of plugins/ test suites run, in pytest, its subprocesses and modules that Ansible runs.

measure.py unit|real [pytest's arguments]...: prints a table of the packages; `coverage html` can show the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import coverage

ROOT = Path(__file__).absolute().parents[1]
COUNTS = ("covered_lines", "num_statements", "covered_branches", "num_branches")
SETTINGS = """\
[run]
branch = True
parallel = True
patch =
    subprocess
    fork
    _exit
relative_files = False
include =
    */ansible_collections/kvm/hotplug/plugins/*
    {plugins}/*
omit = */doc_fragments/*
disable_warnings =
    module-not-imported
    no-data-collected
    couldnt-parse

[paths]
plugins =
    {plugins}
    */ansible_collections/kvm/hotplug/plugins

[report]
# What Ansible adds to the files that it ships.
omit = */*_payload.zip/*
exclude_also =
    if TYPE_CHECKING:
    @(abc\\.)?abstractmethod
    class .*\\bProtocol\\):
"""


def measure(suite: str, arguments: list[str]) -> int:
    """Run a suite and print its coverage; return pytest's exit status."""
    folder = ROOT / ".cache" / "coverage" / suite
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings = folder / "settings.ini"
    settings.write_text(SETTINGS.format(plugins=ROOT / "plugins"), encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "coverage",
            "run",
            f"--rcfile={settings}",
            "-m",
            "pytest",
            *(arguments or [f"tests/{suite}"]),
        ],
        cwd=ROOT,
        env={**os.environ, **environment(folder, settings)},
        check=False,
    )
    found = coverage.Coverage(data_file=str(folder / "data"), config_file=str(settings))
    found.combine([str(folder)], keep=True)
    # What no test loads counts too.
    files = [path for path in (ROOT / "plugins").rglob("*.py") if path.parent.name != "doc_fragments"]
    found.get_data().touch_files(map(str, files))
    found.save()
    report = folder / "report.json"
    found.json_report(outfile=str(report))
    print(f"\nbranch coverage of plugins/ by tests/{suite}")
    print(table(json.loads(report.read_text(encoding="utf-8"))["files"]))
    print(f"for more: {sys.executable} -m coverage html --rcfile={settings} --data-file={folder / 'data'}")
    return done.returncode


def environment(folder: Path, settings: Path) -> dict[str, str]:
    """Return what has pytest's processes measured, and the modules that Ansible runs, by whichever Python."""
    alone = folder / "library"
    alone.mkdir()
    # The system's Python, which modules for libvirt's guests run with, is to find coverage and nothing else of ours.
    (alone / "coverage").symlink_to(Path(coverage.__file__).parent)
    module = {"config": str(settings), "output": str(folder / "data")}
    return {
        "COVERAGE_FILE": module["output"],
        "PYTHONPATH": str(alone),
        # ansible-core 2.19 and newer, and 2.18.
        "_ANSIBALLZ_COVERAGE_CONFIG": json.dumps(module),
        "_ANSIBLE_COVERAGE_CONFIG": module["config"],
        "_ANSIBLE_COVERAGE_OUTPUT": module["output"],
    }


def table(files: Mapping[str, Any]) -> str:
    """Return the coverage of each package and of all, in percent of the statements and branches."""
    packages: dict[str, Counter[str]] = {}
    total: Counter[str] = Counter()
    for path, found in sorted(files.items()):
        name = path.partition("plugins/")[2].replace("module_utils/", "", 1)
        counts = {key: found["summary"][key] for key in COUNTS}
        packages.setdefault(os.path.dirname(name) or "shared", Counter()).update(counts)
        total.update(counts)
    lines = [f"{'package':<24}{'statements':>12}{'branches':>12}"]
    for package, counts in [*packages.items(), ("all", total)]:
        shares = (_percent(counts[part], counts[whole]) for part, whole in (COUNTS[:2], COUNTS[2:]))
        lines.append(f"{package:<24}" + "".join(f"{share:>12}" for share in shares))
    return "\n".join(lines)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


if __name__ == "__main__":
    sys.exit(measure(sys.argv[1], sys.argv[2:]))
