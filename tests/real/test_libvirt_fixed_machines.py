# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machines without CPU hotplug: libvirt starts them with the written config state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import LabError
from lab.domains import LibvirtGuest

from .conftest import Domains
from .support.modules import Result, Vcpu, run_module
from .test_libvirt_guests import libvirts

TWO_OF_FOUR = "<vcpu current='2'>4</vcpu>"
BROKEN = (
    "<vcpu current='2'>4</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/>"
    "<vcpu id='1' enabled='yes' hotpluggable='yes'/><vcpu id='2' enabled='no' hotpluggable='yes'/>"
    "<vcpu id='3' enabled='no' hotpluggable='yes'/></vcpus>"
)


def microvm(domain: Domains, vcpus: str = TWO_OF_FOUR, start: bool = False) -> LibvirtGuest:
    return domain(machine="microvm", vcpus=vcpus, boot=False, shell=False, start=start)


def booted(guest: LibvirtGuest) -> int:
    """How many vCPUs QEMU has; the machine has no slots to ask for."""
    return len(guest.observer.execute("query-cpus-fast"))


def converges(vcpu: Vcpu, steps: list[str], **desired: Any) -> Result:
    """Check, apply, check and apply again; return what was applied."""
    before = vcpu.guest.xml(inactive=True)
    predicted = vcpu(check=True, **desired)
    assert vcpu.guest.xml(inactive=True) == before, "check mode changed the definition"
    applied = vcpu(**desired)
    assert (predicted["changed"], applied["changed"]) == (True, True), applied
    assert applied.steps == steps == [step.replace("planned", "done") for step in predicted.steps]
    for again in (vcpu(check=True, **desired), vcpu(**desired)):
        assert (again["changed"], again.steps) == (False, [])
    return applied


def test_a_count_is_written_and_libvirt_starts_the_guest(domain: Domains) -> None:
    guest = microvm(domain)
    vcpu = Vcpu(guest)
    applied = converges(vcpu, ["enable 2 done"], count=3)
    assert applied.enabled("config") == libvirts(guest, inactive=True) == [0, 1, 2]
    guest.start()
    assert booted(guest) == 3
    converges(vcpu, ["disable 2 done", "disable 1 done"], count=1, scope="config")
    guest.destroy()
    guest.start()
    assert booted(guest) == 1


def test_a_state_that_could_not_start_is_refused_before_anything_is_written(domain: Domains) -> None:
    guest = microvm(domain)
    before = guest.xml(inactive=True)
    for desired in (
        {"vcpus": [{"id": "3", "state": "enabled"}]},
        {"vcpus": [{"id": "0,2", "state": "enabled"}], "exclusive": True},
    ):
        for check in (True, False):
            refused = Vcpu(guest)(check=check, **desired)
            assert (refused["error_code"], refused["changed"], refused.steps) == ("config_invalid", False, [])
            assert "has no CPU hotplug" in refused["msg"]
    assert guest.xml(inactive=True) == before


def test_a_definition_that_libvirt_would_not_start_starts_after_a_change_of_the_count(domain: Domains) -> None:
    guest = microvm(domain, BROKEN)
    with pytest.raises(LabError, match="missing hotplug data"):
        guest.start()
    converges(Vcpu(guest), ["enable 2 done"], count=3)
    guest.start()
    assert booted(guest) == 3


def test_no_vcpu_of_such_a_machine_is_hotpluggable(domain: Domains) -> None:
    guest = microvm(domain)
    vcpu = Vcpu(guest)
    assert {told["hotpluggable"] for told in vcpu.info()["vcpus"]} == {False}
    guest.start()
    for options in ({}, {"ask_qemu": True}):
        info = vcpu.info(**options)
        assert {told["hotpluggable"] for told in info["vcpus"]} == {False}
        assert info.enabled() == [0, 1]
    for check in (True, False):
        refused = vcpu(check=check, count=3)
        assert (refused["error_code"], refused["changed"]) == ("hotplug_unsupported", False)
    assert libvirts(guest, inactive=True) == [0, 1]


@pytest.mark.parametrize("vcpus", [TWO_OF_FOUR, BROKEN], ids=["count", "ids"])
def test_a_file_of_domain_xml_that_was_written_starts(domain: Domains, tmp_path: Path, vcpus: str) -> None:
    guest = microvm(domain)
    file = tmp_path / "guest.xml"
    file.write_text(guest.description.replace(TWO_OF_FOUR, vcpus), encoding="utf-8")
    applied = run_module("kvm.hotplug.vcpu", domain_xml=str(file), count=3)
    assert (applied["changed"], applied.steps) == (True, ["enable 2 done"]), applied
    written = file.read_text(encoding="utf-8")
    assert ("<vcpus>" in written) == ("<vcpus>" in vcpus)
    assert "enabled='yes' hotpluggable='yes'" not in written
    guest.define(written)
    guest.start()
    assert booted(guest) == 3
