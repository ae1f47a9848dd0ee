# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a running domain over libvirt's API: its record, and signs of differences between the record and QEMU."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import ConfigLayout
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import imported_for_qemu
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_state import (
    Record,
    recorded_in,
    state_in,
    suspects,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import SYSTEM_ERROR, LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.host_threads import (
    is_ending,
    threads_of,
    vcpus_in,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.notes import REQUESTED, Note, read_notes
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.processes import HERE, Processes
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.uris import is_remote
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.error_texts import classify
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.messages import read_object
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.run_states import (
    CRASHED,
    SHUTOFF,
    run_state_of_domain,
    was_migrated,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import Slot, invalid_reply, read_slots
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    GUEST_NOT_RUNNING,
    HOTPLUG_UNSUPPORTED,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads

if TYPE_CHECKING:
    import libvirt

    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import LayOut
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.connection import Connection

# virConnectGetAllDomainStats: the state, the process and its vCPUs, without waiting for a call that keeps the domain.
_STATS_STATE = 1 << 0
_STATS_CPU_AND_VCPU = (1 << 1) | (1 << 3)
_STATS_NOWAIT = 1 << 29
_XML_LIVE = 0
_XML_SECURE = 1 << 0
_XML_INACTIVE = 1 << 1
# virDomainJobOperation: migration in, migration out.
_MIGRATIONS = (4, 5)
_JOB_NONE = 0
_SHUTOFF = 5
_QUESTION = "query-hotpluggable-cpus"


class DomainReader:
    """Reads one domain. With ``ask_qemu``, QEMU itself is queried, which taints the domain."""

    def __init__(
        self,
        connection: Connection,
        domain: libvirt.virDomain,
        lay_out: LayOut,
        ask_qemu: bool,
        processes: Processes = HERE,
    ) -> None:
        self._connection = connection
        self._domain = domain
        self._lay_out = lay_out
        self.asks_qemu = ask_qemu
        self._processes = processes
        self._just_read: tuple[str, Domain] | None = None

    async def config(self) -> Domain:
        """Return the config state; raises ``HotplugError`` and ``LibvirtCallError``."""
        return _domain_in(await self._xml(_XML_INACTIVE))

    async def definition(self) -> bytes:
        """Return the XML of the config state with its secrets, to define it again; raises ``LibvirtCallError``."""
        text: str = await self._connection.call(self._domain.XMLDesc, _XML_INACTIVE | _XML_SECURE)
        return text.encode()

    async def live(self) -> Domain:
        """Return libvirt's record of the running domain; raises ``HotplugError`` and ``LibvirtCallError``."""
        return (await self._live())[1]

    async def has_agent(self) -> bool:
        """Return whether the agent has opened its channel; the next ``record`` uses the XML that this reads."""
        self._just_read = await self._live()
        return self._just_read[1].agent

    async def record(self) -> Record:
        """Return the running domain; raises ``HotplugError`` and ``LibvirtCallError``."""
        read, self._just_read = self._just_read, None
        job = await self._connection.call(self._domain.jobStats)
        xml, domain = read or await self._live()
        migrating = job.get("type", _JOB_NONE) != _JOB_NONE and job.get("operation") in _MIGRATIONS
        slots = await self._slots() if self.asks_qemu else None
        laid_out = ConfigLayout(slots) if slots is not None else (await self._lay_out(domain)).laid_out
        threads = self._threads(domain)
        notes = self._valid(read_notes(xml), threads)
        return await self.again(Record(domain, laid_out, migrating=migrating, threads=threads, notes=notes))

    def _threads(self, domain: Domain) -> VcpuThreads:
        return VcpuThreads() if is_remote(self._connection.uri) else threads_of(self._processes.of(domain.uuid or ""))

    def _valid(self, notes: Iterable[Note], threads: VcpuThreads) -> tuple[Note, ...]:
        """Return the notes of this start of the domain, without those on vCPUs that were plugged again since."""
        number = self._domain.ID()
        return tuple(
            note
            for note in notes
            if note.domain == number and (not note.thread or threads.ids.get(note.vcpu, note.thread) == note.thread)
        )

    async def again(self, known: Record) -> Record:
        """Return what is ``known`` with its vCPUs as they are now, while another call may keep the domain.

        Only the statistics do not wait for that call. Raises ``HotplugError`` and ``LibvirtCallError``.
        """
        # For all but the state, libvirt sends query-stats, and a QEMU before 8.1 under KVM never replies to that or to
        # anything after it if the guest ejects a vCPU meanwhile.
        may_eject = known.domain.kvm and any(note.kind == REQUESTED for note in known.notes)
        began = time.monotonic()
        stats = await self._stats(_STATS_STATE | (0 if may_eject else _STATS_CPU_AND_VCPU))
        seconds = time.monotonic() - began
        state = await self._state(stats)
        if state[0] == _SHUTOFF:
            raise _stopped()
        recorded = (await self.live()).enabled if may_eject else recorded_in(stats) or known.domain.enabled
        now = known._replace(
            domain=known.domain._replace(enabled=recorded),
            state=run_state_of_domain(*state),
            migrated=was_migrated(*state),
        )
        slots = await self._slots() if self.asks_qemu else None
        if slots is None:
            now = now._replace(in_qemu=await self._in_qemu(now, stats, seconds))
        else:
            now = now._replace(
                in_qemu=frozenset(vcpu for slot in slots if slot.qom_path is not None for vcpu in slot.entity.vcpus),
                aliases={slot.entity.vcpus[0]: slot.alias for slot in slots if slot.alias is not None},
            )
        if now.removed or not now.enabled.issuperset(known.enabled):
            now = await self._verified(known, now)
        return await self._with_unsafe_plugs(now, stats)

    async def _verified(self, known: Record, now: Record) -> Record:
        """Return ``now``, in which vCPUs are missing, if their QEMU still runs after that; else with those ``known``.

        The threads of a QEMU that ends disappear one by one, some of them before libvirt detects the end.
        """
        domain = await self._connection.call(self._connection.handle.lookupByUUID, self._domain.UUID())
        if self._domain.ID() not in (-1, domain.ID()):
            # Another QEMU, started since: it has the vCPUs of its own boot.
            raise _stopped()
        state = await self._connection.call(domain.state)
        if state[0] == _SHUTOFF:
            raise _stopped()
        if run_state_of_domain(*state).word not in (SHUTOFF, CRASHED) and not is_ending(
            known.threads, self._processes.proc
        ):
            return now
        return now._replace(in_qemu=None if known.in_qemu is None else known.in_qemu & now.domain.enabled)

    async def _with_unsafe_plugs(self, record: Record, stats: Mapping[str, Any]) -> Record:
        """Add what may end the guest, where it runs on this host."""
        if is_remote(self._connection.uri):
            return record
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.kvm_vcpus import unsafe_plugs

        return record._replace(unsafe_plugs=await unsafe_plugs(record, stats, self._processes))

    async def _live(self) -> tuple[str, Domain]:
        xml = await self._xml(_XML_LIVE)
        return xml, _domain_in(xml)

    async def _xml(self, flags: int) -> str:
        return await self._connection.call(self._domain.XMLDesc, flags)

    async def _in_qemu(self, now: Record, stats: Mapping[str, Any], seconds: float) -> frozenset[int] | None:
        """Return which of the recorded vCPUs QEMU has, None where that is unknown.

        Where the threads can be seen, they decide. Elsewhere the statistics show it, as soon as QEMU has run for a
        while; ``seconds`` is how long they took to read.
        """
        enabled = now.domain.enabled
        threads = vcpus_in(now.threads, self._processes.proc)
        if threads is not None:
            return enabled & threads
        found = suspects(stats, enabled, seconds)
        if found is None:
            return None
        if not found.certain and not found.without_statistics:
            return enabled
        without_statistics = (
            found.without_statistics if found.without_statistics and await self._misses_a_thread() else frozenset()
        )
        # At least one of several was removed, and it is unknown which.
        return enabled - found.certain - without_statistics if len(without_statistics) <= 1 else None

    async def _misses_a_thread(self) -> bool:
        """Whether a thread is missing: libvirt then fails to query the CPUs that each may run on."""
        try:
            await self._connection.call(self._domain.vcpus)
        except LibvirtCallError as error:
            return (error.number, error.errno) == (SYSTEM_ERROR, errno.ESRCH)
        return False

    async def _stats(self, kinds: int) -> Mapping[str, Any]:
        found = await self._connection.call(
            self._connection.handle.domainListGetStats, [self._domain], kinds, _STATS_NOWAIT
        )
        return found[0][1] if found else {}

    async def _state(self, stats: Mapping[str, Any]) -> tuple[int, int]:
        found = state_in(stats)
        return found if found is not None else await self._connection.call(self._domain.state)

    async def _slots(self) -> tuple[Slot, ...] | None:
        """Return QEMU's own CPU slots, None for a machine that has no CPU hotplug and so no slots."""
        try:
            return read_slots(await self.execute(_QUESTION))
        except CommandError as refusal:
            if classify(refusal.desc)[0] == HOTPLUG_UNSUPPORTED:
                return None
            raise invalid_reply(_QUESTION, refusal.desc) from None

    async def execute(self, command: str, **arguments: Any) -> Any:
        """Return QEMU's reply; raises ``CommandError`` for its error, ``HotplugError`` for an invalid reply."""
        qemu = imported_for_qemu()
        request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        text: Any = await self._connection.call(qemu.qemuMonitorCommand, self._domain, request, 0)
        try:
            reply = read_object(text)
            if "error" in reply:
                raise CommandError(str(reply["error"]["class"]), str(reply["error"]["desc"]))
            return reply["return"]
        except (ValueError, KeyError, TypeError):
            raise invalid_reply(command, text) from None


def _stopped() -> HotplugError:
    return HotplugError(GUEST_NOT_RUNNING, "the guest has been stopped meanwhile: start it, or use scope config")


def _domain_in(xml: str) -> Domain:
    return read_domain(xml.encode())
