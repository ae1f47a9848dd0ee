# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A domain's XML as others read and change it, without the code under test."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path


def enabled_vcpus(xml: str) -> set[int]:
    """Return the vCPUs that the XML has enabled."""
    root = ET.fromstring(xml)
    listed = root.findall("./vcpus/vcpu")
    if listed:
        return {int(vcpu.attrib["id"]) for vcpu in listed if vcpu.attrib["enabled"] == "yes"}
    count = root.find("./vcpu")
    assert count is not None
    return set(range(int(count.get("current") or count.text or "0")))


def enable_vcpu(path: Path, vcpu: int) -> None:
    """Enable one more vCPU in a file that lists them."""
    tree = ET.parse(path)
    found, count = tree.find(f"./vcpus/vcpu[@id='{vcpu}']"), tree.find("./vcpu")
    assert found is not None
    assert count is not None
    found.set("enabled", "yes")
    count.set("current", str(int(count.attrib["current"]) + 1))
    tree.write(path)
