# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest from request to report, with its config in a store that the collection does not contain."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import DirectSource
from ansible_collections.kvm.hotplug.plugins.module_utils.report.info import info_report
from ansible_collections.kvm.hotplug.plugins.module_utils.report.results import convergence_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import inspect

from ..support.domains import derive_boot
from ..support.json_store import JsonFile
from ..support.peer import Peer
from ..support.queries import code, converge, desired, opener, run, steps
from ..support.scripted_qemu import Imitation

StartPeer = Callable[..., Peer]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "guest.json"
    file.write_text(json.dumps({"name": "db", "maximum": 8, "enabled": [0, 1]}), encoding="utf-8")
    return file


def enabled_in(path: Path) -> list[int]:
    found: list[int] = json.loads(path.read_bytes())["enabled"]
    return found


def test_a_guest_that_is_shut_off_is_checked_changed_and_then_unchanged(path: Path) -> None:
    predicted = converge(DirectSource(config=JsonFile(path)), Request(desired("4", "1"), check_mode=True))
    assert steps(predicted) == ["enable 4: planned", "disable 1: planned"]
    assert enabled_in(path) == [0, 1]
    done = converge(DirectSource(config=JsonFile(path)), Request(desired("4", "1")))
    assert steps(done) == ["enable 4: done", "disable 1: done"]
    assert enabled_in(path) == [0, 4]
    report = convergence_report(done)
    assert [vcpu["id"] for vcpu in report["vcpus"] if vcpu["config"] == "enabled"] == [0, 4]
    again = converge(DirectSource(config=JsonFile(path)), Request(desired("4", "1")))
    assert again.changed is False


def test_a_running_guest_and_its_config_reach_one_desired_state(path: Path, peer: StartPeer) -> None:
    machine = peer(Imitation())
    done = converge(DirectSource(opener(machine.address), JsonFile(path)), Request(desired("4"), timeout=10.0))
    assert steps(done) == ["plug 4: done", "enable 4: done"]
    assert machine.changes == ["device_add vcpu4"]
    assert enabled_in(path) == [0, 1, 4]


def test_a_refusal_of_the_store_comes_before_the_guest_is_changed(path: Path, peer: StartPeer) -> None:
    path.write_text(json.dumps({"name": "db", "maximum": 8, "enabled": [1]}), encoding="utf-8")
    machine = peer(Imitation())
    refused = converge(DirectSource(opener(machine.address), JsonFile(path)), Request(desired("4"), timeout=10.0))
    assert code(refused) == "config_invalid"
    assert machine.changes == []
    assert enabled_in(path) == [1]


def test_warnings_of_the_store_reach_the_user(tmp_path: Path) -> None:
    xml = tmp_path / "guest.xml"
    xml.write_text(
        "<domain><vcpu current='1'>2</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>",
        encoding="utf-8",
    )
    os.link(xml, tmp_path / "other.xml")
    done = converge(DirectSource(config=XmlFile(str(xml), 5.0, derive_boot)), Request(desired("1")))
    assert [warning for warning in done.warnings if "hard links" in warning]


def test_the_arguments_of_the_next_boot_are_those_of_the_store(path: Path) -> None:
    seen = run(lambda: inspect(DirectSource(config=JsonFile(path))))[0]
    assert info_report(seen)["qemu_args"] == ["-smp", "cpus=1,maxcpus=8", "-device", "cpu,id=vcpu1"]
