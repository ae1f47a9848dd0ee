# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running guest by libvirt's record, and the differences between the record and QEMU, as a machine's view. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.qemu_args import qemu_args
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.tuning import tuning_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.notes import REQUESTED, Note
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import acpi, blockers
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.run_states import RunState, run_state
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import NOT_HOTPLUGGABLE, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    EMPTY,
    Blocker,
    Entity,
    GuestFacts,
    Layout,
    LiveState,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import MachineView
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import ConfigLayout
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain

RUNS = run_state("running")

# Accounting by cgroup and by thread differ a little.
SLACK_NANOSECONDS = 100_000_000

RESTART_REMEDY = (
    "restart the libvirt daemon (virtqemud or libvirtd), which reads QEMU's own state then; guests continue to run"
)

_NOT_HOTPLUGGABLE = Blocker(
    NOT_HOTPLUGGABLE,
    "the guest booted with it as a vCPU that libvirt cannot unplug",
    "set boot_vcpus: hotpluggable with scope: config, which makes it hotpluggable from the next boot on, then shut the "
    "guest down and start it",
)
_STALE = Blocker(
    NOT_HOTPLUGGABLE, "it is removed in QEMU, but still enabled in libvirt, so libvirt cannot plug it", RESTART_REMEDY
)
_UNRECORDED = Blocker(
    NOT_HOTPLUGGABLE, "it is enabled in QEMU, but disabled in libvirt, so libvirt cannot unplug it", RESTART_REMEDY
)


class Record(NamedTuple):
    """A running domain in libvirt at one moment.

    ``in_qemu`` are the vCPUs that QEMU has, None where there is only libvirt's word;
    ``aliases`` are known where QEMU itself was asked. ``unsafe_plugs`` are those of ``LiveState``.
    ``threads`` are those of a QEMU on this host. ``notes`` are those on the vCPUs that are plugged now.
    ``migrated`` is that of ``LiveState``; libvirt does not show it any more once the guest was paused and resumed.
    """

    domain: Domain
    laid_out: ConfigLayout
    state: RunState = RUNS
    migrating: bool = False
    in_qemu: frozenset[int] | None = None
    aliases: Mapping[int, str] | None = None
    unsafe_plugs: Mapping[int, Blocker] = EMPTY
    threads: VcpuThreads = VcpuThreads()
    notes: tuple[Note, ...] = ()
    migrated: bool = False

    @property
    def enabled(self) -> frozenset[int]:
        """The vCPUs in QEMU, as far as known."""
        return self.domain.enabled if self.in_qemu is None else self.in_qemu

    @property
    def removed(self) -> frozenset[int]:
        """The vCPUs that are in libvirt's record and no longer in QEMU."""
        return self.domain.enabled - self.enabled

    @property
    def requested(self) -> frozenset[int]:
        """The plugged entities whose unplug was requested, and may still be carried out by the guest."""
        noted = {note.vcpu for note in self.notes if note.kind == REQUESTED}
        entities = self.laid_out.layout.entities if noted else ()
        return frozenset(
            entity.index for entity in entities if noted.intersection(entity.vcpus) and _present(entity, self.enabled)
        )


def state_in(stats: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the virDomainState and its reason from the ``state`` statistics of a domain; None without them."""
    state, reason = stats.get("state.state"), stats.get("state.reason")
    return (state, reason) if isinstance(state, int) and isinstance(reason, int) else None


def recorded_in(stats: Mapping[str, Any]) -> frozenset[int]:
    """Return the vCPUs that libvirt's record has enabled, from the ``vcpu`` statistics of a domain."""
    found = (re.fullmatch(r"vcpu\.([0-9]{1,6})\.state", key) for key in stats)
    return frozenset(int(match.group(1)) for match in found if match)


class Suspects(NamedTuple):
    """vCPUs of libvirt's record that may no longer be in QEMU.

    ``certain`` are those that are gone for sure. Of those ``without_statistics`` the host's kernel has counted nothing
    yet, as of a thread that is gone, and now and then of one that has hardly run.
    """

    certain: frozenset[int] = frozenset()
    without_statistics: frozenset[int] = frozenset()


def suspects(stats: Mapping[str, Any], recorded: Collection[int], seconds: float = 0.0) -> Suspects | None:
    """Return the vCPUs whose threads are in doubt, from the ``cpu`` and ``vcpu`` statistics of a domain.

    Of a thread that has ended libvirt reads zeros, until it plugs another vCPU; from then on it reads the time of the
    whole process, which is longer than a thread of it can have run. ``seconds`` is how long reading them took.

    None where a figure is missing, and where no delay is counted: kernels can be built so, and vCPUs can share a
    thread.
    """
    process = stats.get("cpu.time")
    times = _figures(stats, "time", {0, *recorded})
    delays = _figures(stats, "delay", recorded)
    if not isinstance(process, int) or times is None or delays is None or not any(delays.values()):
        return None
    # The process is read first, then each thread: vCPU 0 and another vCPU have continued to run in between.
    slack = max(SLACK_NANOSECONDS, round(2 * seconds * 1e9))
    # vCPU 0 is never unplugged, so its time belongs to no other thread.
    most = process - times[0] + slack
    others = frozenset(recorded) - {0}
    return Suspects(
        certain=frozenset(vcpu for vcpu in others if times[vcpu] > most),
        without_statistics=frozenset(vcpu for vcpu in others if not times[vcpu] and not delays[vcpu]),
    )


def _figures(stats: Mapping[str, Any], name: str, vcpus: Collection[int]) -> dict[int, int] | None:
    """Return one figure of each vCPU, or None if one is missing."""
    found = {vcpu: stats.get(f"vcpu.{vcpu}.{name}") for vcpu in vcpus}
    figures = {vcpu: figure for vcpu, figure in found.items() if isinstance(figure, int)}
    return figures if len(figures) == len(found) else None


def machine_view(record: Record) -> MachineView:
    """Return the machine's view."""
    domain, layout = record.domain, record.laid_out.layout
    state = record.state
    return MachineView(
        facts=GuestFacts(domain.name, domain.uuid, state.word, domain.arch, domain.machine),
        layout=layout,
        live=LiveState(
            enabled=record.enabled,
            running=state.running,
            acknowledges=domain.arch in acpi.ARCHITECTURES,
            ejecting=frozenset(vcpu for index in record.requested for vcpu in layout.entities[index].vcpus),
            cannot_enable=_cannot_enable(record, layout),
            cannot_disable=_cannot_disable(record, layout),
            unsafe_plugs=record.unsafe_plugs,
            aliases=record.aliases or {},
            recorded=None if record.in_qemu is None else domain.enabled,
            thread_ids=record.threads.ids,
            order=domain.order,
            tuning=tuning_of(domain),
            migrated=record.migrated,
        ),
        threads=record.threads,
        destination_args=_destination_args(record),
        warning=_warning(record),
    )


def _present(entity: Entity, ids: frozenset[int]) -> bool:
    return not ids.isdisjoint(entity.vcpus)


def _whole_machine_blocker(record: Record) -> Blocker | None:
    if not record.laid_out.hotplug:
        domain = record.domain
        return blockers.no_hotplug(f"a machine of type {domain.machine} has no CPU hotplug", domain.arch)
    return blockers.MIGRATING if record.migrating else record.state.blocker


def _cannot_enable(record: Record, layout: Layout) -> dict[int, Blocker]:
    whole = _whole_machine_blocker(record)
    enabled, removed = record.enabled, record.removed
    found: dict[int, Blocker] = {}
    for entity in layout.entities:
        if _present(entity, enabled):
            continue
        if whole is not None:
            found[entity.index] = whole
        elif _present(entity, removed):
            found[entity.index] = _STALE
    return found


def _cannot_disable(record: Record, layout: Layout) -> dict[int, Blocker]:
    whole = _whole_machine_blocker(record)
    if whole is None and not record.state.running:
        whole = blockers.not_running(record.state.described)
    enabled = record.enabled
    found: dict[int, Blocker] = {}
    for entity in layout.entities:
        if not _present(entity, enabled):
            continue
        fixed = _fixed(record.domain, entity)
        if fixed is not None and record.laid_out.hotplug:
            found[entity.index] = fixed
        elif not _present(entity, record.domain.enabled):
            found[entity.index] = _UNRECORDED
        elif whole is not None:
            found[entity.index] = whole
    return found


def _fixed(domain: Domain, entity: Entity) -> Blocker | None:
    """The blocker of a vCPU that cannot be unplugged while the guest runs."""
    if domain.arch == "s390x":
        return blockers.S390X
    if 0 in entity.vcpus:
        return blockers.BOOT_VCPU
    return None if domain.hotpluggable.issuperset(entity.vcpus) else _NOT_HOTPLUGGABLE


def _destination_args(record: Record) -> tuple[str, ...]:
    try:
        return qemu_args(record.domain, record.laid_out, record.enabled)
    except HotplugError:
        # A machine that booted otherwise than anybody could ask for again.
        return ()


def _warning(record: Record) -> str:
    if not record.removed:
        return ""
    return (
        f"libvirt's record still has vCPU {format_cpulist(record.removed)} enabled, which QEMU has no more: "
        f"{RESTART_REMEDY}"
    )
