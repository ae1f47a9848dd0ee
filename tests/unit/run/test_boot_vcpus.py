# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""boot_vcpus on a file of domain XML, from options to results: checked, applied, checked and applied again."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.config import XmlFile
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import DirectSource
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONNECTION_LOST
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    ENABLE,
    ConfigState,
    Entity,
    GuestFacts,
    GuestState,
    Layout,
    Step,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import FAILED, StepOutcome
from ansible_collections.kvm.hotplug.plugins.module_utils.report.info import info_report
from ansible_collections.kvm.hotplug.plugins.module_utils.report.results import convergence_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.convergence import Convergence
from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Journal
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import inspect

from ..support.domains import derive_boot
from ..support.queries import code, converge, desired, run, steps

REST = "  <os><type arch='x86_64' machine='q35'>hvm</type></os>\n"
COUNT = "  <vcpu current='3'>4</vcpu>\n"
LISTED = (
    COUNT
    + "  <vcpus>\n"
    + "    <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>\n"
    + "    <vcpu id='1' enabled='yes' hotpluggable='no' order='2'/> <!-- the boss -->\n"
    + "    <vcpu id='2' enabled='yes' order='3'/>\n"
    + "    <vcpu id='3' enabled='no'/>\n"
    + "  </vcpus>\n"
)
RFC = "<vcpu current='2'>2</vcpu><vcpus><vcpu id='0' state='enabled'/><vcpu id='1' state='enabled'/></vcpus>"


def write(folder: Path, vcpus: str, rest: str = REST) -> Path:
    path = folder / "guest.xml"
    path.write_text(f"<domain type='kvm'>\n  <name>db</name>\n{vcpus}{rest}</domain>\n", encoding="utf-8")
    return path


def bring(path: Path, check_mode: bool = False, **options: Any) -> Convergence:
    source = DirectSource(config=XmlFile(str(path), 5.0, derive_boot))
    return converge(
        source, Request(**{"desired": None, "hotpluggable_boot_vcpus": True, **options}, check_mode=check_mode)
    )


def converges(path: Path, expected: list[str], **options: Any) -> dict[str, Any]:
    """Check, apply, check and apply again; return what was applied."""
    before = path.read_bytes()
    predicted = convergence_report(bring(path, check_mode=True, **options))
    assert path.read_bytes() == before, "check mode changed the file"
    applied_run = bring(path, **options)
    applied = convergence_report(applied_run)
    assert (predicted["changed"], applied["changed"], applied_run.warnings) == (True, True, [])
    assert steps(applied_run) == [f"{step}: done" for step in expected]
    assert [f"{step['step']} {step['vcpus']}" for step in predicted["steps"]] == expected
    assert predicted["diff"] == applied["diff"]
    assert told(predicted) == told(applied)
    after = path.read_bytes()
    for again in (bring(path, check_mode=True, **options), bring(path, **options)):
        assert (again.changed, steps(again), convergence_report(again)["diff"]["before"]) == (
            False,
            [],
            applied["diff"]["after"],
        )
    assert path.read_bytes() == after
    return applied


def told(report: dict[str, Any]) -> list[tuple[int, str, bool]]:
    return [(vcpu["id"], vcpu["config"], vcpu["hotpluggable"]) for vcpu in report["vcpus"]]


def changes(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


def test_alone_it_changes_only_hotpluggable_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, LISTED)
    before = path.read_text(encoding="utf-8")
    applied = converges(path, ["enable 1", "enable 2"])
    assert changes(before, path.read_text(encoding="utf-8")) == [
        "-     <vcpu id='1' enabled='yes' hotpluggable='no' order='2'/> <!-- the boss -->",
        "+     <vcpu id='1' enabled='yes' hotpluggable='yes' order='2'/> <!-- the boss -->",
        "-     <vcpu id='2' enabled='yes' order='3'/>",
        "+     <vcpu id='2' enabled='yes' order='3' hotpluggable='yes'/>",
    ]
    assert [step["makes_hotpluggable"] for step in applied["steps"]] == [True, True]
    assert changes(applied["diff"]["before"], applied["diff"]["after"]) == [
        "- vCPU 1: config enabled, not hotpluggable",
        "+ vCPU 1: config enabled, hotpluggable",
        "- vCPU 2: config enabled, not hotpluggable",
        "+ vCPU 2: config enabled, hotpluggable",
    ]


def test_a_file_with_only_a_count_lists_its_vcpus_then(tmp_path: Path) -> None:
    path = write(tmp_path, COUNT)
    converges(path, ["enable 1", "enable 2"])
    text = path.read_text(encoding="utf-8")
    assert [f"<vcpu id='{vcpu}' enabled='yes' hotpluggable='yes'/>" in text for vcpu in range(4)] == [
        False,
        True,
        True,
        False,
    ]
    assert "<vcpu id='0' enabled='yes' hotpluggable='no'/>" in text


def test_with_a_desired_state_it_applies_to_vcpus_that_stay_enabled(tmp_path: Path) -> None:
    path = write(tmp_path, LISTED)
    applied = converges(path, ["enable 1", "enable 3", "disable 2"], desired=desired("3", "2"))
    assert [step["makes_hotpluggable"] for step in applied["steps"]] == [True, False, False]
    text = path.read_text(encoding="utf-8")
    assert "<vcpu id='1' enabled='yes' hotpluggable='yes' order='2'/>" in text
    assert "<vcpu id='3' enabled='yes'" in text


def test_the_arguments_of_the_next_boot_follow(tmp_path: Path) -> None:
    path = write(tmp_path, COUNT)

    def qemu_args() -> list[str]:
        source = DirectSource(config=XmlFile(str(path), 5.0, derive_boot))
        found: list[str] = info_report(run(lambda: inspect(source))[0])["qemu_args"]
        return found

    assert qemu_args()[1].startswith("cpus=3,")
    converges(path, ["enable 1", "enable 2"])
    assert qemu_args()[1].startswith("cpus=1,")
    assert [word.split(",")[1] for word in qemu_args() if "x86_64-cpu" in word] == ["id=vcpu1", "id=vcpu2"]


@pytest.mark.parametrize(
    ("vcpus", "rest", "expected"),
    [
        (COUNT, REST.replace("q35", "microvm"), "hotplug_unsupported"),
        (COUNT, "<os><type arch='aarch64' machine='virt'>hvm</type></os>", "hotplug_unsupported"),
        (COUNT, "<os><type arch='s390x' machine='s390-ccw-virtio'>hvm</type></os>", "not_hotpluggable"),
        (RFC, REST, "conflicting_request"),
    ],
    ids=["microvm", "aarch64", "s390x", "the RFC's dialect"],
)
def test_an_unsuitable_config_is_refused_and_not_changed(tmp_path: Path, vcpus: str, rest: str, expected: str) -> None:
    path = write(tmp_path, vcpus, rest)
    before = path.read_bytes()
    for check_mode in (True, False):
        refused = bring(path, check_mode)
        assert (code(refused), refused.changed) == (expected, False)
        assert refused.error is not None
        assert "omit boot_vcpus" in refused.error.msg
    assert path.read_bytes() == before


@pytest.mark.parametrize("is_done", [True, False])
def test_after_a_lost_connection_the_config_shows_whether_it_was_made_hotpluggable(is_done: bool) -> None:
    entities = (Entity(0, (0,)), Entity(1, (1,)))
    journal = Journal([Step(ENABLE, entities[1], makes_hotpluggable=True)])
    journal.entries[0].end(StepOutcome(FAILED, took_effect=None, detail="lost", code=CONNECTION_LOST))
    config = ConfigState(frozenset({0, 1}), hotpluggable=frozenset({1} if is_done else ()))
    journal.learn(GuestState(GuestFacts(), Layout(entities), config=config))
    assert journal.changed is is_done
