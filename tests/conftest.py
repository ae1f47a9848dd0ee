# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make this checkout importable as ``ansible_collections.kvm.hotplug``, however pytest is started."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]


def collections_path() -> Path:
    """Return the directory that holds ``ansible_collections``, with a link to the checkout unless it lies in place."""
    if ROOT.parts[-3:] == ("ansible_collections", "kvm", "hotplug"):
        return ROOT.parents[2]
    path = ROOT / ".cache" / "collections"
    link = path / "ansible_collections" / "kvm" / "hotplug"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../../../..")
    return path


sys.path.insert(0, str(collections_path()))
