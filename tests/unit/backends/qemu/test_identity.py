# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a running guest and a config can be of one guest."""

from __future__ import annotations

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.identity import difference
from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestFacts

UUID = "050569ef-a13e-403f-ab3d-af2651473133"
WEB = GuestFacts(name="web1", uuid=UUID, arch="x86_64", machine="pc-q35-10.0")


def test_a_missing_fact_is_no_difference() -> None:
    assert difference(WEB, GuestFacts()) is None
    assert difference(GuestFacts(), WEB) is None


def test_the_same_uuid_in_any_notation_is_the_same_guest() -> None:
    assert difference(WEB, WEB._replace(uuid=UUID.replace("-", "").upper())) is None


def test_another_uuid_is_another_guest() -> None:
    found = difference(WEB, WEB._replace(uuid="11111111-a13e-403f-ab3d-af2651473133"))
    assert found is not None
    assert found.what == "UUID"
    assert found.running == UUID


@pytest.mark.parametrize("uuid", [None, UUID])
def test_another_architecture_is_another_guest(uuid: str | None) -> None:
    found = difference(WEB._replace(uuid=uuid), WEB._replace(uuid=uuid, arch="ppc64"))
    assert found is not None
    assert (found.what, found.running, found.config) == ("architecture", "x86_64", "ppc64")


@pytest.mark.parametrize(("changed", "what"), [({"name": "web2"}, "name"), ({"machine": "pc"}, "machine type")])
def test_another_name_or_machine_is_another_guest_unless_the_uuid_is_the_same(
    changed: dict[str, str], what: str
) -> None:
    found = difference(WEB._replace(uuid=None), WEB._replace(**changed))
    assert found is not None
    assert found.what == what
    assert difference(WEB, WEB._replace(**changed)) is None


@pytest.mark.parametrize(
    ("running", "config"),
    [
        ("i386", "i686"),
        ("x86_64", "i686"),
        ("ppc64", "ppc64le"),
        ("arm", "armv7l"),
        ("aarch64", "armv7l"),
        ("s390x", "s390x"),
    ],
)
def test_qemu_and_libvirt_name_one_architecture_differently(running: str, config: str) -> None:
    assert difference(GuestFacts(arch=running), GuestFacts(arch=config)) is None


@pytest.mark.parametrize(
    ("running", "config"),
    [
        ("pc-q35-10.0", "q35"),
        ("pc-q35-10.0", "pc-q35-7.2"),
        ("pc-q35-rhel9.4.0", "q35"),
        ("pc-q35-jammy", "ubuntu-q35"),
        ("pc-i440fx-10.0", "pc"),
        ("pc-i440fx-jammy", "ubuntu"),
        ("pseries-10.0", "pseries"),
        ("s390-ccw-virtio-10.0", "s390-ccw"),
        ("virt-10.0", "virt"),
        ("pc-q35-10.0", "an-alias-of-some-distribution"),
    ],
)
def test_a_machine_and_its_alias_are_one(running: str, config: str) -> None:
    assert difference(GuestFacts(machine=running), GuestFacts(machine=config)) is None


@pytest.mark.parametrize(
    ("running", "config"),
    [("pc-q35-10.0", "pc"), ("pc-q35-10.0", "pc-i440fx-10.0"), ("pseries-10.0", "q35"), ("microvm", "isapc")],
)
def test_machines_of_two_families_differ(running: str, config: str) -> None:
    assert difference(GuestFacts(machine=running), GuestFacts(machine=config)) is not None
