# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which vCPUs of a domain QEMU has created in KVM, by the files that it has open, and which must not come back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import ConfigLayout
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt import kvm_vcpus
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_state import Record
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.processes import HERE
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import Slot
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, Layout

UUID = "20b35926-375e-4a02-bf5e-47428fd8abc7"


def layout(sockets: int, cores: int) -> Layout:
    places = [(socket, core) for socket in range(sockets) for core in range(cores)]
    return Layout(
        tuple(
            Entity(index, (index,), position={"socket": socket, "core": core, "thread": 0})
            for index, (socket, core) in enumerate(places)
        )
    )


def qemu(folder: Path, apic_ids: Iterable[int]) -> Path:
    """A process in /proc that has these vCPUs of KVM open."""
    process = folder / "4711"
    (process / "fd").mkdir(parents=True)
    names = ["/dev/kvm", "anon_inode:kvm-vm", *(f"anon_inode:kvm-vcpu:{number}" for number in apic_ids)]
    names += [f"anon_inode:kvm-vcpu-stats:{number}" for number in apic_ids]
    for number, name in enumerate(names):
        (process / "fd" / str(number)).symlink_to(name)
    return process


@pytest.mark.parametrize(
    ("cores", "apic_ids", "kept"),
    [
        (2, [0, 1, 5], {0, 1, 5}),
        # Three cores take two bits: the second socket begins at 4.
        (3, [0, 1, 4, 6], {0, 1, 3, 5}),
    ],
)
def test_the_vcpus_that_kvm_has_are_those_of_the_open_files(
    tmp_path: Path, cores: int, apic_ids: list[int], kept: set[int]
) -> None:
    assert kvm_vcpus.kept_by_kvm(qemu(tmp_path, apic_ids), layout(4, cores), {0, 1}) == kept


@pytest.mark.parametrize("apic_ids", [[], [0], [0, 1, 77]])
def test_files_that_do_not_fit_the_enabled_vcpus_show_nothing(tmp_path: Path, apic_ids: list[int]) -> None:
    assert kvm_vcpus.kept_by_kvm(qemu(tmp_path, apic_ids), layout(4, 2), {0, 1}) is None


def test_a_guest_that_runs_elsewhere_shows_nothing() -> None:
    assert kvm_vcpus.kept_by_kvm(None, layout(4, 2), {0}) is None


@pytest.mark.parametrize(("takes_back", "unsafe"), [(False, {1, 5}), (True, set()), (None, set())])
def test_what_kvm_has_and_may_have_run_is_unsafe_where_the_host_refuses(
    monkeypatch: pytest.MonkeyPatch, takes_back: bool | None, unsafe: set[int]
) -> None:
    found = layout(4, 2)
    domain = Domain(max_vcpus=8, enabled=frozenset({0, 1, 2}), hotpluggable=frozenset(), arch="x86_64", uuid=UUID)
    slots = tuple(Slot(entity, "cpu", {}) for entity in found.entities)

    async def query() -> bool | None:
        return takes_back

    monkeypatch.setattr(kvm_vcpus, "query_takes_back", query)
    monkeypatch.setattr(kvm_vcpus, "kept_by_kvm", lambda *_arguments: frozenset({0, 1, 2, 5}))
    # vCPU 2 has never run, vCPU 5 was unplugged.
    stats = {"vcpu.0.exits.sum": 9, "vcpu.1.exits.sum": 9, "vcpu.2.exits.sum": 0}
    record = Record(domain, ConfigLayout(slots), in_qemu=frozenset({0, 1, 2}))
    assert set(asyncio.run(kvm_vcpus.unsafe_plugs(record, stats, HERE))) == unsafe
