# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documentation refers only to tests, files and headings that exist, and is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils import errors

ROOT = Path(__file__).absolute().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CODE_OF_CONDUCT.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("roles/*/README.md")),
]
TEST_FOLDERS = (ROOT, ROOT / "tests", ROOT / "tests/real")

# `tests/unit/test_cpulist.py::test_a_name`, or a file alone; a folder before it is optional.
TEST = re.compile(r"`([\w/]*\btest_\w+\.py)(?:::(\w+))?`")
FILE = re.compile(r"`((?:docs|extensions|playbooks|plugins|roles|tests)/[\w./-]+)`")
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)")
CODE_BLOCK = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_a_page_names_exists(page):
    missing = [match.group(0) for match in TEST.finditer(prose(page)) if not is_test(*match.groups())]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page):
    missing = [name for name in FILE.findall(prose(page)) if not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_heading(page):
    broken = [match.group(0) for match in LINK.finditer(prose(page)) if not link_works(page, *match.groups())]
    assert broken == []


def test_troubleshooting_explains_every_error_code_and_no_other():
    page = ROOT / "docs/troubleshooting.md"
    explained = re.findall(r"^### (.*)$", prose(page), flags=re.MULTILINE)
    codes = [value for name, value in vars(errors).items() if isinstance(value, str) and value == name.lower()]
    assert sorted(explained) == sorted(codes)


def test_troubleshooting_has_a_remedy_for_every_error_code():
    sections = re.split(r"^### ", prose(ROOT / "docs/troubleshooting.md"), flags=re.MULTILINE)[1:]
    without = [section.splitlines()[0] for section in sections if "\n- " not in section]
    assert without == []


@pytest.mark.parametrize("index", ["README.md", "docs/site/index.md"])
def test_every_guide_is_in_the_index(index):
    text = (ROOT / index).read_text(encoding="utf-8")
    missing = [page.name for page in sorted(ROOT.glob("docs/*.md")) if f"docs/{page.name}" not in text]
    assert missing == []


def prose(page: Path) -> str:
    return CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))


def is_test(file: str, name: str | None) -> bool:
    paths = [folder / file for folder in TEST_FOLDERS if (folder / file).is_file()]
    return any(name is None or f"def {name}(" in path.read_text(encoding="utf-8") for path in paths)


def link_works(page: Path, target: str, anchor: str | None) -> bool:
    path = page.parent / target if target else page
    return path.exists() and (not anchor or anchor in anchors(path))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub derives from the headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
