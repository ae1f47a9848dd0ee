# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A vCPU that a QEMU no longer has was unplugged only if that QEMU still runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import layout_of_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_reader import DomainReader
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.domain_state import Record
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.host_threads import is_ending, threads_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.notes import REQUESTED, Note
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.processes import Processes
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.threads import VcpuThreads

from ...support.queries import run

UUID = "00000000-0000-4000-8000-000000000001"
VCPUS = range(4)
DOMAIN = Domain(4, frozenset(VCPUS), uuid=UUID, arch="x86_64", machine="q35", hotpluggable=frozenset(set(VCPUS) - {0}))
RUNNING, IN_SHUTDOWN, SHUT_OFF = (1, 1), (4, 1), (5, 1)
LEADER = 4711


class MadeUpGuest:
    """A domain of libvirt's, its connection, and its QEMU in a folder like /proc.

    Before each call to libvirt, the next number of ``pace`` says how many of ``events`` take place.
    """

    uri = "qemu:///system"

    def __init__(self, proc: Path, events: Sequence[tuple[str, int]] = (), pace: Sequence[int] = ()) -> None:
        self.proc = proc
        self.number = 7
        self.status = RUNNING
        self.kinds: list[int] = []
        self._events = list(events)
        self._pace = list(pace)
        for thread, name in [(LEADER, "qemu-system-x86"), *((thread_of(vcpu), f"CPU {vcpu}/KVM") for vcpu in VCPUS)]:
            task = proc / str(LEADER) / "task" / str(thread)
            task.mkdir(parents=True)
            (task / "comm").write_text(f"{name}\n")
            self._show(thread, name)
        (proc / str(LEADER) / "cmdline").write_bytes(b"\0".join([b"qemu", b"-uuid", UUID.encode(), b""]))

    def _show(self, thread: int, name: str = "x", state: str = "S", flags: int = 0, pending: int = 0) -> None:
        task = self.proc / str(LEADER) / "task" / str(thread)
        (task / "stat").write_text(f"{thread} ({name}) {state} 1 1 1 0 -1 {flags} 0 0\n")
        (task / "status").write_text(f"Name:\t{name}\nNSpid:\t{thread}\nSigPnd:\t{pending:016x}\n")

    def kill(self, _number: int = 0) -> None:
        """What the kernel does first to a process that ends: SIGKILL for each thread."""
        for thread in (LEADER, *map(thread_of, VCPUS)):
            if (self.proc / str(LEADER) / "task" / str(thread)).exists():
                self._show(thread, pending=1 << 8)

    def exiting(self, thread: int) -> None:
        self._show(thread, flags=0x40010C)

    def zombie(self, thread: int) -> None:
        self._show(thread, state="Z")

    def end(self, thread: int) -> None:
        shutil.rmtree(self.proc / str(LEADER) / "task" / str(thread))

    def become(self, status: int) -> None:
        self.status = (status, 1)

    def start_again(self, number: int) -> None:
        """Another QEMU, which booted without vCPU 3."""
        self.number, self.status = number, RUNNING

    # The connection, and the domain.
    @property
    def handle(self) -> MadeUpGuest:
        return self

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        for _event in range(self._pace.pop(0) if self._pace else 0):
            if self._events:
                name, number = self._events.pop(0)
                getattr(self, name)(number)
        return function(*arguments)

    def UUID(self) -> bytes:
        return b""

    def ID(self) -> int:
        return 7

    def XMLDesc(self, _flags: int) -> str:
        return "<domain type='kvm'><vcpu current='3'>4</vcpu></domain>"

    def lookupByUUID(self, _uuid: bytes) -> Any:
        number, guest = self.number, self

        class Found:
            def ID(self) -> int:
                return number

            def state(self) -> tuple[int, int]:
                return guest.status

        return Found()

    def state(self) -> tuple[int, int]:
        return self.status

    def domainListGetStats(self, _domains: object, kinds: int, _flags: int) -> list[tuple[Any, dict[str, int]]]:
        self.kinds.append(kinds)
        found = {"cpu.time": 10_000_000_000, "state.state": self.status[0], "state.reason": self.status[1]}
        for vcpu in VCPUS if self.number == 7 else range(3):
            lives = self.number != 7 or (self.proc / str(LEADER) / "task" / str(thread_of(vcpu))).exists()
            found[f"vcpu.{vcpu}.state"] = 1
            found[f"vcpu.{vcpu}.time"] = 1_000_000_000 if lives else 0
            found[f"vcpu.{vcpu}.delay"] = 1_000_000 if lives else 0
        return [(None, found)]


def thread_of(vcpu: int) -> int:
    return LEADER + 1 + vcpu


def known(proc: Path) -> Record:
    laid_out = layout_of_domain(DOMAIN)
    assert laid_out is not None
    return Record(DOMAIN, laid_out, in_qemu=DOMAIN.enabled, threads=threads_of(Processes(proc).of(UUID)))


def vcpus_after(guest: MadeUpGuest, readings: int = 1) -> list[set[int] | str]:
    """The vCPUs by each reading, until one raises; then its error code."""

    async def work() -> list[set[int] | str]:
        made_up = cast(Any, guest)
        reader = DomainReader(made_up, made_up, made_up, ask_qemu=False, processes=Processes(guest.proc))
        record = known(guest.proc)
        found: list[set[int] | str] = []
        try:
            for _reading in range(readings):
                record = await reader.again(record)
                found.append(set(record.enabled))
        except HotplugError as error:
            found.append(error.code)
        return found

    return run(work)


# A guest that powers off is in shutdown for libvirt before it ends QEMU; of a QEMU that is killed, libvirt learns last.
POWERS_OFF = [("become", IN_SHUTDOWN[0]), ("kill", 0)]
IS_KILLED = [("kill", 0)]
THREADS = [("end", thread_of(vcpu)) for vcpu in VCPUS]
LEADERS_END = [("exiting", LEADER), ("zombie", LEADER)]


def test_a_vcpu_whose_thread_has_ended_in_a_qemu_that_runs_is_unplugged(tmp_path: Path) -> None:
    assert vcpus_after(MadeUpGuest(tmp_path, [("end", thread_of(3))], [1])) == [{0, 1, 2}]


@example([("end", thread_of(3))], True, [3])
@example([("end", thread_of(3))], False, [2])
@given(st.permutations(THREADS + LEADERS_END[:1]), st.booleans(), st.lists(st.integers(0, 4), max_size=24))
def test_no_vcpu_is_unplugged_by_the_end_of_its_qemu(
    ends: list[tuple[str, int]], by_the_guest: bool, pace: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        events = [*(POWERS_OFF if by_the_guest else IS_KILLED), *ends, LEADERS_END[1], ("become", SHUT_OFF[0])]
        guest = MadeUpGuest(Path(folder), events, [*pace, *[1] * 20])
        found = vcpus_after(guest, readings=20)
    assert [one for one in found if one != set(VCPUS)] in ([], ["guest_not_running"])


def test_a_vcpu_of_a_young_guest_whose_statistics_show_nothing_is_unplugged(tmp_path: Path) -> None:
    # As after another plug, when libvirt reads the time of the whole process for the thread that has ended.
    class Young(MadeUpGuest):
        def domainListGetStats(self, *_arguments: object) -> list[tuple[Any, dict[str, int]]]:
            figures = {f"vcpu.{vcpu}.{name}": 1_000_000 for vcpu in VCPUS for name in ("state", "time", "delay")}
            return [(None, {"cpu.time": 4_000_000, **figures})]

    assert vcpus_after(Young(tmp_path, [("end", thread_of(3))], [1])) == [{0, 1, 2}]


def test_no_vcpu_is_unplugged_by_another_start_of_the_guest(tmp_path: Path) -> None:
    assert vcpus_after(MadeUpGuest(tmp_path, [("start_again", 8)], [1])) == ["guest_not_running"]


@pytest.mark.parametrize(
    ("end", "thread"),
    [
        ("kill", 0),
        ("exiting", LEADER),
        ("zombie", LEADER),
        ("end", LEADER),
        ("exiting", thread_of(0)),
        ("end", thread_of(0)),
    ],
)
def test_a_qemu_without_its_first_thread_or_that_of_vcpu_0_is_ending(tmp_path: Path, end: str, thread: int) -> None:
    guest = MadeUpGuest(tmp_path)
    threads = threads_of(Processes(tmp_path).of(UUID))
    assert not is_ending(threads, tmp_path)
    getattr(guest, end)(thread)
    assert is_ending(threads, tmp_path)


def test_a_qemu_that_has_ended_is_ending_and_one_elsewhere_is_unknown(tmp_path: Path) -> None:
    assert is_ending(VcpuThreads(LEADER, {0: 1}), tmp_path)
    assert is_ending(VcpuThreads(LEADER), tmp_path)
    assert not is_ending(VcpuThreads(), tmp_path)


@pytest.mark.parametrize("kvm", [True, False])
def test_only_the_state_is_asked_for_while_a_guest_under_kvm_may_eject_a_vcpu(tmp_path: Path, kvm: bool) -> None:
    guest = MadeUpGuest(tmp_path)
    record = known(tmp_path)
    record = record._replace(domain=record.domain._replace(kvm=kvm))
    noted = record._replace(notes=(Note(REQUESTED, 3, 7, thread_of(3), "a41c"),))

    async def work() -> tuple[Record, Record]:
        made_up = cast(Any, guest)
        reader = DomainReader(made_up, made_up, made_up, ask_qemu=False, processes=Processes(tmp_path))
        return await reader.again(record), await reader.again(noted)

    calm, ejecting = run(work)
    # virConnectGetAllDomainStats: 1 is the state, 2 and 8 are for what libvirt sends query-stats.
    assert guest.kinds == [1 | 2 | 8, 1 if kvm else 1 | 2 | 8]
    assert calm.domain.enabled == {0, 1, 2, 3}
    assert ejecting.domain.enabled == ({0, 1, 2} if kvm else {0, 1, 2, 3})
