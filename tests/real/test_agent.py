# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The agent client on real guests: present, missing, restricted and stopped agents, by the guest's own CPU numbers."""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import termios
import time
from collections.abc import Awaitable
from typing import Any, Callable, TypeVar

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.client import QemuAgent
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.cpu_mapping import match_cpus
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.socket_transport import commands_at
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import SetResult
from lab import observer
from lab.guest import Guest

from .conftest import TWO_NODES, Boot, needs_ppc64_linux

T = TypeVar("T")

# The guest's own numbers of its CPUs, by vCPU id.
Numbers = dict[int, int]


def asked(guest: Guest, question: Callable[[QemuAgent], Awaitable[T]], timeout: float = 20.0) -> T:
    """Ask the guest's agent one question, and hang up."""

    async def ask() -> T:
        agent = commands_at(guest.agent_socket, timeout)
        try:
            return await question(agent)
        finally:
            await agent.close()

    return asyncio.run(ask())


async def online(agent: QemuAgent) -> list[int]:
    return [cpu.number for cpu in await agent.cpus() if cpu.online]


def translated(guest: Guest) -> Numbers:
    async def look(agent: QemuAgent) -> Numbers:
        cpus = await agent.cpus()
        slots = await agent.slots([cpu.number for cpu in cpus])
        return {vcpu: cpu.number for vcpu, cpu in match_cpus(observer.enabled_ids(guest.observer), cpus, slots).items()}

    return asked(guest, look)


def booted(boot: Boot, plugged: int | None = 5, **options: Any) -> Guest:
    """A guest of vCPUs 0 and 1, with one more plugged that it has online."""
    guest = boot(agent=True, **{**TWO_NODES, **options})
    if plugged is not None:
        before = len(observer.guest_cpus(guest))
        observer.plug(guest.observer, plugged)
        deadline = time.monotonic() + 30
        while len(observer.guest_cpus(guest)) == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    return guest


def newest(guest: Guest) -> int:
    """The guest's own number of the CPU plugged last: from Linux 6.9 on that of the slot, before it the next one."""
    return observer.guest_cpus(guest)[-1]


def agent_pid(guest: Guest) -> str:
    return guest.shell("pidof qemu-ga").strip()


def agents_chardev(guest: Guest) -> str:
    """What QEMU says of the agent's socket."""
    (found,) = (one["filename"] for one in guest.observer.execute("query-chardev") if one["label"] == "agent")
    return str(found)


def error_of(guest: Guest, timeout: float = 2.0) -> HotplugError:
    with pytest.raises(HotplugError) as caught:
        asked(guest, QemuAgent.cpus, timeout)
    return caught.value


def test_a_sparse_guest_is_onlined_and_offlined_by_vcpu_ids(boot: Boot) -> None:
    guest = booted(boot)
    numbers = translated(guest)
    assert numbers == {0: 0, 1: 1, 5: newest(guest)}
    assert observer.guest_topology(guest)[numbers[5]].node == 1
    assert asked(guest, lambda agent: agent.set_cpus({numbers[5]: False})) == SetResult((numbers[5],))
    assert observer.guest_cpus(guest) == asked(guest, online) == [0, 1]
    # An offline CPU has no topology any more, and is told all the same.
    assert translated(guest) == numbers
    assert asked(guest, lambda agent: agent.set_cpus({numbers[1]: False, numbers[5]: True})) == SetResult(
        (1, numbers[5])
    )
    assert observer.guest_cpus(guest) == asked(guest, online) == [0, numbers[5]]
    assert observer.enabled_ids(guest.observer) == [0, 1, 5]


def test_a_refusal_is_reported_after_the_processed_vcpus(boot: Boot) -> None:
    guest = booted(boot)
    third = newest(guest)
    result = asked(guest, lambda agent: agent.set_cpus({1: False, 77: True, third: False}))
    assert (result.processed, result.stopped_at, result.code) == ((1,), 77, "agent_error")
    assert "cpu77" in result.reason
    assert observer.guest_cpus(guest) == [0, third]
    first = asked(guest, lambda agent: agent.set_cpus({0: False}))
    assert (first.processed, first.stopped_at) == ((), 0)


def test_an_agent_that_reads_no_files_is_sufficient_until_the_guest_is_sparse(boot: Boot) -> None:
    guest = booted(boot, plugged=2, append="lab.ga=-b lab.ga=guest-file-open")
    assert translated(guest) == {0: 0, 1: 1, 2: 2}
    observer.plug(guest.observer, 7)
    with pytest.raises(HotplugError) as caught:
        translated(guest)
    assert caught.value.code == "agent_error"
    assert "guest-file-open" in caught.value.msg


def test_an_agent_that_may_not_set_vcpus_is_an_error_and_nothing_changes(boot: Boot) -> None:
    guest = booted(boot, plugged=None, append="lab.ga=-b lab.ga=guest-set-vcpus")
    with pytest.raises(HotplugError, match="does not offer guest-set-vcpus"):
        asked(guest, lambda agent: agent.set_cpus({1: False}))
    assert observer.guest_cpus(guest) == [0, 1]


def test_a_guest_without_an_agent_is_reported_within_the_timeout(boot: Boot) -> None:
    guest = booted(boot, plugged=None)
    # Asked to end (SIGTERM), it may answer first.
    guest.shell(f"kill -KILL {agent_pid(guest)}")
    error = error_of(guest)
    assert error.code == "agent_unavailable"
    assert "does not run in the guest" in error.msg
    assert "another client" not in error.msg


def test_an_agent_that_is_stopped_during_a_command_is_synchronized_when_it_continues(boot: Boot) -> None:
    guest = booted(boot, plugged=None)
    pid = agent_pid(guest)

    async def stopped(agent: QemuAgent) -> list[str]:
        assert await online(agent) == [0, 1]
        guest.shell(f"kill -STOP {pid}")
        codes = []
        for _attempt in range(2):
            with pytest.raises(HotplugError) as caught:
                await agent.cpus()
            codes.append(caught.value.code)
        guest.shell(f"kill -CONT {pid}")
        # Its answers to what was asked before come now, before the one to this.
        assert await agent.set_cpus({1: False}) == SetResult((1,))
        assert await online(agent) == [0]
        return codes

    assert asked(guest, stopped, timeout=3) == ["agent_error", "agent_unavailable"]
    assert observer.guest_cpus(guest) == [0]


def test_an_agent_that_was_stopped_when_a_client_left_replies_to_the_next_client(boot: Boot) -> None:
    guest = booted(boot, plugged=None)
    pid = agent_pid(guest)
    guest.shell(f"kill -STOP {pid}")
    assert error_of(guest).code == "agent_unavailable"
    guest.shell(f"kill -CONT {pid}")
    assert asked(guest, online) == [0, 1]


def test_an_incomplete_command_of_another_client_is_discarded(boot: Boot) -> None:
    guest = booted(boot, plugged=None)
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(guest.agent_socket)
        other.sendall(b'{"execute": "guest-set-vcpus", "arguments": {"vcpus": [')
        # Until QEMU, which passes it on, has read it.
        unread = array.array("i", [1])
        while unread[0]:
            fcntl.ioctl(other, termios.TIOCOUTQ, unread)
    assert asked(guest, online) == [0, 1]


def test_a_socket_that_another_client_holds_is_free_when_it_disconnects(boot: Boot) -> None:
    guest = booted(boot, plugged=None)
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(guest.agent_socket)
        while "disconnected" in agents_chardev(guest):
            time.sleep(0.02)
        error = error_of(guest)
        assert error.code == "agent_unavailable"
        assert "another client holds the socket" in error.msg
        assert "run in the guest" not in error.msg
    assert asked(guest, online) == [0, 1]


def test_a_monitor_is_not_an_agent(boot: Boot) -> None:
    guest = booted(boot, plugged=None)
    guest.agent_socket = guest.qmp_socket
    error = error_of(guest)
    assert error.code == "agent_error"
    assert "does not reply like a guest agent" in error.msg


def test_a_qemu_that_ends_during_a_command_is_reported(boot: Boot) -> None:
    guest = booted(boot, plugged=None)

    async def killed(agent: QemuAgent) -> str:
        assert await online(agent) == [0, 1]
        guest.kill()
        with pytest.raises(HotplugError) as caught:
            await agent.cpus()
        return caught.value.code

    assert asked(guest, killed) == "agent_unavailable"


@needs_ppc64_linux
def test_the_cpus_of_a_sparse_pseries_guest_are_mapped_by_their_thread_numbers(boot: Boot) -> None:
    guest = booted(boot, plugged=12, arch="ppc64", smp="4,sockets=2,cores=2,threads=4,maxcpus=16", numa=(), memory=512)
    numbers = translated(guest)
    assert set(numbers) == {0, 1, 2, 3, 12, 13, 14, 15}
    assert numbers[12] == 4
    assert asked(guest, lambda agent: agent.set_cpus({numbers[13]: False})) == SetResult((numbers[13],))
    assert numbers[13] not in observer.guest_cpus(guest)
    assert translated(guest) == numbers
