# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Combine the replies of a QEMU into its facts, its layout, its live state and its blockers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu import acpi, blockers, reuse
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.arguments import device_argument, smp_argument
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.error_texts import classify
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.run_states import run_state
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import (
    Slot,
    fixed_slots,
    invalid_reply,
    layout_of,
    read_slots,
    thread_ids,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.notes import (
    LIST,
    NEVER_RAN,
    UNPLUG,
    Note,
    read_notes,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HOTPLUG_UNSUPPORTED, printable
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Blocker, GuestFacts, LiveState
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import MachineView

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.monitor import Command

QUESTIONS: Mapping[str, Command] = {
    "slots": ("query-hotpluggable-cpus", {}),
    "cpus": ("query-cpus-fast", {}),
    "status": ("query-status", {}),
    "target": ("query-target", {}),
    "name": ("query-name", {}),
    "uuid": ("query-uuid", {}),
    "machine": ("qom-get", {"path": "/machine", "property": "type"}),
    "smp": ("qom-get", {"path": "/machine", "property": "smp"}),
    "migration": ("query-migrate", {}),
    "ospm": ("query-acpi-ospm-status", {}),
    "kvm": ("query-kvm", {}),
    "notes": LIST,
}

# Only under KVM: which vCPUs have run.
EXITS: Command = ("query-stats", {"target": "vcpu", "providers": [{"provider": "kvm", "names": ["exits"]}]})

# Only where `QmpView.may_imply_node`: what all memory is, "" where NUMA nodes have it.
MEMORY: Command = ("qom-get", {"path": "/machine", "property": "memory-backend"})

# Values of a monitor's peer that may become part of a command line.
_ARGUMENT = re.compile(r"[A-Za-z0-9_.,=-]+")

_MIGRATING = (
    "setup",
    "active",
    "pre-switchover",
    "device",
    "wait-unplug",
    "cancelling",
    "postcopy-active",
    "postcopy-paused",
    "postcopy-recover",
    "postcopy-recover-setup",
    "postcopy-device",
)


class QmpView:
    """A QEMU at one moment, from its replies to ``QUESTIONS``, and to ``EXITS`` and ``MEMORY`` if these were queried.

    ``takes_back`` is whether its host's KVM accepts a vCPU that has run, None if unknown. Raises ``HotplugError``
    (monitor_unreachable) for a malformed reply.
    """

    def __init__(self, replies: Mapping[str, Any], takes_back: bool | None = None) -> None:
        self._replies = replies
        self._takes_back = takes_back
        self.notes = read_notes(replies["notes"])
        self._unsupported = _unsupported(replies["slots"], self._word("target", "arch"))
        self.slots: tuple[Slot, ...] = (
            read_slots(replies["slots"]) if self._unsupported is None else self._slots_without_hotplug()
        )
        self._state = run_state(self._word("status", "status") or "")
        self.facts = GuestFacts(
            name=self._word("name", "name"),
            uuid=self._uuid(),
            state=self._state.word,
            arch=self._word("target", "arch"),
            machine=self._machine(),
        )
        self._words = words = acpi.read_ospm_status(replies["ospm"])
        self.acknowledges = self.facts.arch in acpi.ARCHITECTURES
        self.ready = bool(words) or not self.acknowledges
        present = [slot.entity.index for slot in self.slots if slot.qom_path is not None]
        # The guest carries it out, unless a reset has invalidated its last report.
        self.ejecting = frozenset(index for index in present if words.get(index) == acpi.OstStatus(acpi.EJECTING))
        self.thread_ids = thread_ids(self.slots, replies["cpus"])
        # It was requested, and the guest may still carry it out.
        self.requested = frozenset(index for index in present if self.unplug_note(index) in self.notes)

    def machine_view(self) -> MachineView:
        enabled = [slot for slot in self.slots if slot.qom_path is not None]
        return MachineView(
            facts=self.facts,
            layout=layout_of(self.slots, hotplug=self._unsupported is None),
            live=LiveState(
                enabled=frozenset(vcpu for slot in enabled for vcpu in slot.entity.vcpus),
                running=self._state.running,
                acknowledges=self.acknowledges,
                ejecting=frozenset(
                    vcpu
                    for slot in enabled
                    if slot.entity.index in self.ejecting | self.requested
                    for vcpu in slot.entity.vcpus
                ),
                cannot_enable=self._cannot_enable(),
                cannot_disable=self._cannot_disable(),
                unsafe_plugs=reuse.unsafe_plugs(self.slots, self.history) if self.reuses_vcpus else {},
                aliases={slot.entity.vcpus[0]: slot.alias for slot in enabled if slot.alias is not None},
                thread_ids=self.thread_ids,
                migrated=self._migrated,
            ),
            destination_args=self._destination_args(),
        )

    def unplug_note(self, index: int) -> Note:
        """The note of an unplug request for the vCPU that is in this slot now."""
        return Note(UNPLUG, index, self.thread_ids.get(self.slots[index].entity.vcpus[0], 0))

    @property
    def reuses_vcpus(self) -> bool:
        """Whether a plug reuses the slot's KVM vCPU, whose CPUID must not change."""
        kvm = self._replies["kvm"]
        enabled = isinstance(kvm, dict) and kvm.get("enabled") is True
        return enabled and self.facts.arch in reuse.ARCHITECTURES and self._unsupported is None

    @property
    def may_imply_node(self) -> bool:
        """Whether the node of all slots may be the default one of pseries, without any configured NUMA nodes."""
        return self.facts.arch == "ppc64" and all(slot.entity.node == 0 for slot in self.slots)

    @property
    def history(self) -> reuse.KvmHistory:
        """The known facts about vCPUs that have run; only if it ``reuses_vcpus``."""
        return reuse.KvmHistory(
            booted=self._smp().get("cpus", 0),
            exits=reuse.read_exits(self.slots, self._replies.get("exits")),
            left=reuse.read_left(self.slots, self._words),
            never_ran=frozenset(note.slot for note in self.notes if note.kind == NEVER_RAN),
            takes_back=self._takes_back,
        )

    def _word(self, question: str, key: str) -> str | None:
        """A string from a reply, safe to print; None if QEMU returned none."""
        reply = self._replies[question]
        value = reply.get(key) if isinstance(reply, dict) else None
        return printable(value) if isinstance(value, str) and value else None

    def _uuid(self) -> str | None:
        uuid = self._word("uuid", "UUID")
        return uuid if uuid and uuid.strip("0-") else None

    def _machine(self) -> str | None:
        name = self._replies["machine"]
        if not isinstance(name, str):
            return None
        return printable(name[: -len("-machine")] if name.endswith("-machine") else name)

    def _slots_without_hotplug(self) -> tuple[Slot, ...]:
        return fixed_slots(self._replies["cpus"], self._smp().get("maxcpus", 0))

    def _smp(self) -> dict[str, int]:
        reply = self._replies["smp"]
        if not isinstance(reply, dict):
            return {}
        return {key: value for key, value in reply.items() if isinstance(value, int)}

    def _cannot_enable(self) -> dict[int, Blocker]:
        blocker = self._whole_machine_blocker()
        empty = [slot.entity.index for slot in self.slots if slot.qom_path is None]
        return {} if blocker is None else dict.fromkeys(empty, blocker)

    def _cannot_disable(self) -> dict[int, Blocker]:
        present = [slot.entity.index for slot in self.slots if slot.qom_path is not None]
        whole = self._whole_machine_blocker() or self._guest_blocker()
        found = {} if whole is None else dict.fromkeys(present, whole)
        if self._unsupported is not None:
            return found
        if self.facts.arch == "s390x":
            return dict.fromkeys(present, blockers.S390X)
        if self.slots and self.slots[0].qom_path is not None:
            found[0] = blockers.BOOT_VCPU
        return found

    def _whole_machine_blocker(self) -> Blocker | None:
        if self._unsupported is not None:
            return self._unsupported
        if self._state.blocker is not None:
            return self._state.blocker
        if self._word("migration", "status") in _MIGRATING:
            return blockers.MIGRATING
        return None

    @property
    def _migrated(self) -> bool:
        """Whether a migration to this QEMU is the last one that it completed; one from it would have statistics."""
        reply = self._replies["migration"]
        return isinstance(reply, dict) and reply.get("status") == "completed" and "ram" not in reply

    def _guest_blocker(self) -> Blocker | None:
        if not self._state.running:
            return blockers.not_running(self._state.described)
        return None if self.ready else blockers.NOT_READY

    def _destination_args(self) -> tuple[str, ...]:
        """``-smp`` for the ids enabled from 0 on, ``-device`` for the rest; none if QMP does not show enough."""
        smp = self._smp()
        nodes = any(slot.entity.node is not None for slot in self.slots)
        if self.may_imply_node:
            memory = self._replies.get("memory")
            nodes = not (isinstance(memory, str) and memory)
        if self._unsupported is not None or nodes or "maxcpus" not in smp:
            return ()
        present = [slot.qom_path is not None for slot in self.slots]
        booted = present.index(False) if False in present else len(present)
        args = ["-smp", smp_argument(sum(len(slot.entity.vcpus) for slot in self.slots[:booted]), smp)]
        for slot in self.slots[booted:]:
            if slot.qom_path is not None:
                args += ["-device", device_argument(slot)]
        return tuple(args) if all(_ARGUMENT.fullmatch(argument) for argument in args) else ()


def _unsupported(reply: object, arch: str | None) -> Blocker | None:
    if not isinstance(reply, CommandError):
        return None
    code, _remedy = classify(reply.desc)
    if code != HOTPLUG_UNSUPPORTED:
        raise invalid_reply("query-hotpluggable-cpus", reply.desc)
    return blockers.no_hotplug(f"QEMU replied: {reply.desc}", arch)
