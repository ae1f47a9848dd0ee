# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real QEMU guests for tests, and independent observers of them that share no code with the collection."""

from __future__ import annotations

import os
import pathlib


class LabError(Exception):
    """Something the laboratory needs is missing or did not happen."""


def cache() -> pathlib.Path:
    """Return the folder where downloads and images are kept."""
    default = pathlib.Path(__file__).resolve().parents[2] / ".cache" / "lab"
    folder = pathlib.Path(os.environ.get("KVM_HOTPLUG_CACHE") or default).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
