# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures: a file of domain XML."""

from __future__ import annotations

from pathlib import Path

import pytest

from ...support.xml_files import TWO_OF_EIGHT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of domain XML with two of eight vCPUs enabled."""
    file = tmp_path / "web.xml"
    file.write_text(TWO_OF_EIGHT, encoding="utf-8")
    return file
