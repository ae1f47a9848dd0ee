# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every copy of the udev rule that onlines hotplugged CPUs is the same as that of the role."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).absolute().parents[2]
SOURCE = ROOT / "roles/guest/templates/cpu.rules.j2"


@pytest.mark.parametrize("copy", ["docs/agent.md", "extensions/molecule/roles/verify.yml"])
def test_every_copy_of_the_rule_is_the_same(copy):
    rules = [line for line in SOURCE.read_text(encoding="utf-8").splitlines() if line.startswith("SUBSYSTEM")]
    assert len(rules) == 1
    assert rules[0] in (ROOT / copy).read_text(encoding="utf-8")
