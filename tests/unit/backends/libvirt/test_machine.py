# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An unplug over libvirt, whose record may lag behind QEMU for a moment, or for good."""

from __future__ import annotations

import time
from typing import Any, Callable, cast

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import layout_of_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt import machine
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_state import Record
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.machine import LibvirtMachine
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.ost_tracker import OstTracker
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import MachineView, StepOutcome

from ...support.queries import run

EJECTED = {"event": "ACPI_DEVICE_OST", "data": {"info": {"slot-type": "CPU", "slot": "3", "source": 3, "status": 0}}}
DELETED = {"event": "DEVICE_DELETED", "data": {"device": "vcpu3", "path": "/machine/peripheral/vcpu3"}}
LAPIC_DELETED = {"event": "DEVICE_DELETED", "data": {"path": "/machine/peripheral/vcpu3/lapic"}}

DOMAIN = Domain(4, frozenset({0, 3}), arch="x86_64", machine="q35", hotpluggable=frozenset({1, 2, 3}))


class MadeUpLibvirt:
    """A domain with vCPU 3, which QEMU removes at the first request; ``noted`` looks later libvirt's record agrees."""

    def __init__(self, events: list[dict[str, Any]], noted: float) -> None:
        self.refused = None
        self.asks_qemu = False
        self.looks = 0
        self._events = events
        self._noted = noted
        self._is_removed = False
        self._tracker: OstTracker | None = None
        self.metadata: list[str] = []

    # The event router.
    async def listen(self, _domain: object, tracker: OstTracker) -> None:
        self._tracker = tracker

    def leave(self, _domain: object) -> None:
        return None

    # The connection, and the domain.
    @property
    def handle(self) -> MadeUpLibvirt:
        return self

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def getLibVersion(self) -> int:
        return 12_004_000

    def ID(self) -> int:
        return 7

    def setMetadata(self, _kind: int, element: str | None, _prefix: str | None, namespace: str, _flags: int) -> None:
        if element is not None:
            self.metadata.append(namespace)
        elif namespace in self.metadata:
            self.metadata.remove(namespace)

    def XMLDesc(self, _flags: int) -> str:
        return "".join(f'<x xmlns:x="{namespace}"/>' for namespace in self.metadata)

    def setVcpu(self, *_arguments: object) -> None:
        self._is_removed = True
        assert self._tracker is not None
        for event in self._events:
            self._tracker.process(event)

    # The reader.
    async def record(self) -> Record:
        laid_out = layout_of_domain(DOMAIN)
        assert laid_out is not None
        return Record(DOMAIN, laid_out, in_qemu=DOMAIN.enabled)

    async def again(self, known: Record) -> Record:
        if not self._is_removed:
            return known
        self.looks += 1
        recorded = frozenset({0}) if self.looks > self._noted else DOMAIN.enabled
        return known._replace(domain=known.domain._replace(enabled=recorded), in_qemu=frozenset({0}))


def unplug(libvirt: MadeUpLibvirt, timeout: float = 5.0) -> tuple[StepOutcome, MachineView, float]:
    async def work() -> tuple[StepOutcome, MachineView, float]:
        made_up = cast(Any, libvirt)
        found = LibvirtMachine(made_up, made_up, made_up, made_up)
        entity = (await found.observe()).layout.entities[3]
        began = time.monotonic()
        answer = await found.unplug(entity, timeout)
        seconds = time.monotonic() - began
        await found.close()
        return answer, found.latest(), seconds

    return run(work)


@pytest.mark.parametrize("events", [[LAPIC_DELETED, DELETED, EJECTED], [LAPIC_DELETED, DELETED], []])
def test_a_record_that_is_right_a_moment_later_is_no_reason_for_a_warning(events: list[dict[str, Any]]) -> None:
    answer, view, _seconds = unplug(MadeUpLibvirt(events, noted=3))
    assert (answer.status, answer.took_effect) == ("done", True)
    assert (view.warning, view.live.recorded) == ("", {0})


def test_a_removal_that_qemu_does_not_report_is_not_waited_for() -> None:
    answer, view, seconds = unplug(MadeUpLibvirt([LAPIC_DELETED, EJECTED], noted=3))
    assert answer.status == "done"
    assert "libvirt's record still has vCPU 3" in view.warning
    assert seconds < machine.RECORD_SECONDS / 2


def test_a_record_that_stays_wrong_is_waited_for_no_longer_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "RECORD_SECONDS", 0.5)
    answer, view, seconds = unplug(MadeUpLibvirt([LAPIC_DELETED, DELETED, EJECTED], noted=float("inf")))
    assert answer.status == "done"
    assert "libvirt's record still has vCPU 3" in view.warning
    assert seconds > 0.4


def test_a_request_that_is_pending_is_noted_and_one_that_is_done_is_not() -> None:
    class Silent(MadeUpLibvirt):
        def setVcpu(self, *_arguments: object) -> None:
            return None

    libvirt = Silent([], noted=0)
    answer, view, _seconds = unplug(libvirt, timeout=0.1)
    assert (answer.status, view.live.ejecting) == ("pending", {3})
    assert len(libvirt.metadata) == 1
    libvirt = MadeUpLibvirt([LAPIC_DELETED, EJECTED], noted=3)
    answer, view, _seconds = unplug(libvirt)
    assert (answer.status, view.live.ejecting) == ("done", set())
    assert libvirt.metadata == []
