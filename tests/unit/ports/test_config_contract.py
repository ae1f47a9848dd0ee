# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The config port's contract, for the file of domain XML and for a store that only the tests have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.reader import XmlFileReader
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.readers import DirectReadSource
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import DirectSource
from contracts.config import ConfigContract, Stored
from contracts.domain_xml import enable_vcpu, enabled_vcpus

from ..support.domains import derive_boot
from ..support.json_store import JsonFile

EIGHT = """\
<domain type='kvm'>
  <name>db</name>
  <memory unit='MiB'>256</memory>
  <vcpu current='2'>8</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu><topology sockets='4' cores='2' threads='1'/></cpu>
</domain>
"""


class TestXmlFile(ConfigContract):
    @pytest.fixture
    def stored(self, tmp_path: Path) -> Stored:
        path = tmp_path / "guest.xml"
        path.write_text(EIGHT, encoding="utf-8")
        return Stored(
            DirectSource(config=XmlFile(str(path), 10.0, derive_boot)),
            DirectReadSource(config=XmlFileReader(str(path), derive_boot)),
            path.read_text,
            enabled_vcpus,
            lambda vcpu: enable_vcpu(path, vcpu),
        )


class TestJsonFile(ConfigContract):
    @pytest.fixture
    def stored(self, tmp_path: Path) -> Stored:
        path = tmp_path / "guest.json"
        path.write_text(json.dumps({"name": "db", "maximum": 8, "enabled": [0, 1]}), encoding="utf-8")

        def enable(vcpu: int) -> None:
            found = json.loads(path.read_bytes())
            found["enabled"].append(vcpu)
            path.write_text(json.dumps(found), encoding="utf-8")

        return Stored(
            DirectSource(config=JsonFile(path)),
            DirectReadSource(config=JsonFile(path)),
            path.read_text,
            lambda text: set(json.loads(text)["enabled"]),
            enable,
        )
