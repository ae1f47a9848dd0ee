# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The conversation with an agent: recorded replies, partial success, and synchronization."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.client import QemuAgent
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.commands import GuestCpu
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.socket_transport import commands_at
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import SetResult

from ...support.agent_peer import (
    DISABLED,
    SYNC,
    LinuxAgent,
    Recorded,
    as_ever,
    asked,
    by_turns,
    failure,
    late,
    pseries_files,
    saying_first,
)
from ...support.faulty_peers import answering, from_number, hang_up, no_answer, raw
from ...support.peer import Peer

StartPeer = Callable[..., Peer]


def numbers(cpus: tuple[GuestCpu, ...]) -> list[int]:
    return [cpu.number for cpu in cpus]


async def online(agent: QemuAgent) -> list[int]:
    return [cpu.number for cpu in await agent.cpus() if cpu.online]


def test_a_sparse_guest_has_its_own_cpu_numbers(peer: StartPeer) -> None:
    async def look(agent: QemuAgent) -> Any:
        cpus = await agent.cpus()
        return cpus, await agent.slots(numbers(cpus))

    cpus, slots = asked(peer(Recorded("sparse")).address, look)
    assert cpus == (GuestCpu(0, True, False), GuestCpu(1, True, True), GuestCpu(2, True, True))
    assert slots == {0: 0, 1: 1, 2: 5}


def test_an_offline_cpu_is_mapped_by_its_slot(peer: StartPeer) -> None:
    async def offline(agent: QemuAgent) -> Any:
        return await agent.set_cpus({2: False}), await online(agent), await agent.slots([0, 1, 2])

    result = asked(peer(Recorded("sparse, offline")).address, offline)
    assert result == (SetResult((2,)), [0, 1], {0: 0, 1: 1, 2: 5})


def test_on_pseries_the_slots_of_present_cpus_are_returned(peer: StartPeer) -> None:
    async def look(agent: QemuAgent) -> Any:
        cpus = await agent.cpus()
        return numbers(cpus), await agent.slots(numbers(cpus))

    cpus, slots = asked(peer(Recorded("pseries, sparse")).address, look)
    assert cpus == list(range(16))
    assert slots == {0: 0, 1: 1, 2: 2, 3: 3, 4: 12, 5: 13, 6: 14, 7: 15}


def test_an_agent_that_reads_no_files_returns_no_slots(peer: StartPeer) -> None:
    async def look(agent: QemuAgent) -> Any:
        return numbers(await agent.cpus()), await agent.slots([0, 1])

    assert asked(peer(Recorded("no files")).address, look) == ([0, 1], None)


def test_a_refusal_after_processed_cpus_is_reported_with_its_reason(peer: StartPeer) -> None:
    result = asked(peer(Recorded("partly")).address, lambda agent: agent.set_cpus({2: True, 77: True, 1: False}))
    assert (result.processed, result.stopped_at, result.code) == ((2,), 77, "agent_error")
    assert "cpu77" in result.reason


def test_a_refusal_of_the_first_cpu_raises_no_exception(peer: StartPeer) -> None:
    result = asked(peer(Recorded("refused")).address, lambda agent: agent.set_cpus({0: False}))
    assert (result.processed, result.stopped_at) == ((), 0)
    assert result.reason == "the guest refused: logical processor #0 can't be offlined"


@pytest.mark.parametrize(
    "refusal",
    [
        failure("The command guest-set-vcpus has not been found", "CommandNotFound"),
        failure("this feature or command is not currently supported"),
        failure("The command guest-set-vcpus has been disabled for this instance"),
        failure(DISABLED.format("guest-set-vcpus") + ": the agent is in frozen state", "CommandNotFound"),
    ],
    ids=["Windows", "Windows before QEMU 9.1", "blocked long ago", "frozen"],
)
def test_an_agent_that_cannot_set_vcpus_is_a_separate_error(peer: StartPeer, refusal: dict[str, Any]) -> None:
    windows = peer(LinuxAgent([0, 1]).but("guest-set-vcpus", answering(refusal)))

    async def offline(agent: QemuAgent) -> None:
        assert await online(agent) == [0, 1]
        with pytest.raises(HotplugError) as caught:
            await agent.set_cpus({1: False})
        assert caught.value.code == "agent_error"
        assert "guest-set-vcpus" in caught.value.msg
        assert "Windows" in caught.value.msg

    asked(windows.address, offline)


def test_a_recorded_agent_without_the_command_is_that_error(peer: StartPeer) -> None:
    with pytest.raises(HotplugError, match="does not offer guest-set-vcpus"):
        asked(peer(Recorded("get only")).address, lambda agent: agent.set_cpus({1: False}))


def test_an_agent_without_any_vcpu_command_is_an_agent_error(peer: StartPeer) -> None:
    blocked = peer(LinuxAgent([0, 1], blocked=["guest-get-vcpus"]))
    with pytest.raises(HotplugError, match="does not offer guest-get-vcpus") as caught:
        asked(blocked.address, QemuAgent.cpus)
    assert caught.value.code == "agent_error"


def test_the_rest_is_requested_from_an_agent_that_processes_one_cpu_at_a_time(peer: StartPeer) -> None:
    agent = LinuxAgent(range(8), at_once=1)
    guest = peer(agent)
    wanted = {5: False, 1: False, 7: False}
    assert asked(guest.address, lambda agent: agent.set_cpus(wanted)) == SetResult((5, 1, 7))
    assert [len(command["arguments"]["vcpus"]) for command in guest.received[1:]] == [3, 2, 1]
    assert [number for number, is_online in agent.online.items() if not is_online] == [1, 5, 7]


def test_an_empty_request_sends_nothing(peer: StartPeer) -> None:
    guest = peer(LinuxAgent([0]))
    assert asked(guest.address, lambda agent: agent.set_cpus({})) == SetResult(())
    assert guest.received == []


def test_cpus_processed_before_a_timeout_are_reported(peer: StartPeer) -> None:
    trick = from_number(2, no_answer)
    guest = peer(LinuxAgent([0, 1, 2], at_once=1).but("guest-set-vcpus", trick))
    result = asked(guest.address, lambda agent: agent.set_cpus({1: False, 2: False}), timeout=0.5)
    assert (result.processed, result.stopped_at, result.code) == ((1,), 2, "agent_error")
    assert "did not complete its reply" in result.reason


def test_cpus_processed_before_the_command_was_blocked_are_reported(peer: StartPeer) -> None:
    frozen = from_number(2, answering(failure("frozen", "CommandNotFound")))
    guest = peer(LinuxAgent([0, 1, 2], at_once=1).but("guest-set-vcpus", frozen))
    result = asked(guest.address, lambda agent: agent.set_cpus({1: False, 2: False}))
    assert result == SetResult((1,), 2, "agent_error", "the guest refused: frozen", refused=True)


def test_thousands_of_cpus_are_supported(peer: StartPeer) -> None:
    async def look(agent: QemuAgent) -> Any:
        return await agent.cpus(), await agent.slots([0, 1, 4095]), await agent.set_cpus({4095: False})

    guest = LinuxAgent(range(4096))
    cpus, slots, result = asked(peer(guest).address, look, timeout=30)
    assert numbers(cpus) == list(range(4096))
    assert (slots, result) == ({0: 0, 1: 1, 4095: 4095}, SetResult((4095,)))
    assert not guest.online[4095]


def test_only_the_files_of_the_requested_cpus_are_read_and_all_are_closed(peer: StartPeer) -> None:
    agent = LinuxAgent(range(64))
    guest = peer(agent)
    assert asked(guest.address, lambda agent: agent.slots([7, 9])) == {7: 7, 9: 9}
    assert guest.commands.count("guest-file-open") == guest.commands.count("guest-file-close") == 2
    assert agent.open == {}


@pytest.mark.parametrize("trick", [no_answer, raw(b"{}\n"), answering({"return": 5}), answering(failure("no"))])
def test_a_file_that_could_not_be_read_is_closed(peer: StartPeer, trick: Any) -> None:
    agent = LinuxAgent([0]).but("guest-file-read", trick)
    with contextlib.suppress(HotplugError):
        asked(peer(agent).address, lambda agent: agent.slots([0]), timeout=0.5)
    assert agent.open == {}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"/sys/devices/system/cpu/cpu0/firmware_node/path": "\\_PR_.CPU0\n"},
        {"/sys/devices/system/cpu/cpu0/firmware_node/path": ""},
        {"/sys/devices/system/cpu/present": "0"},
        {"/sys/devices/system/cpu/present": "invalid_reply", "/sys/devices/system/cpu/cpu0/physical_id": "0"},
        {"/sys/devices/system/cpu/present": "0", "/sys/devices/system/cpu/cpu0/physical_id": "-1"},
        {"/sys/devices/system/cpu/present": "0", "/sys/devices/system/cpu/cpu0/physical_id": "9" * 4000},
    ],
)
def test_files_without_information_give_no_slots(peer: StartPeer, files: dict[str, str]) -> None:
    assert asked(peer(LinuxAgent([0, 1], files=files)).address, lambda agent: agent.slots([0, 1])) is None


def test_a_cpu_that_is_removed_while_the_files_are_read_is_left_out(peer: StartPeer) -> None:
    agent = LinuxAgent([0, 4, 6])
    assert asked(peer(agent).address, lambda agent: agent.slots([0, 2, 3])) == {0: 0, 2: 6}


@pytest.mark.parametrize(
    "files",
    [
        {f"/sys/devices/system/cpu/cpu{number}/firmware_node/path": "\\_SB_.CPUS.C001" for number in range(2)},
        {**pseries_files([3, 3], 2)},
    ],
    ids=["ACPI", "pseries"],
)
def test_two_cpus_with_the_same_vcpu_id_are_an_invalid_reply(peer: StartPeer, files: dict[str, str]) -> None:
    with pytest.raises(HotplugError) as caught:
        asked(peer(LinuxAgent([0, 1], files=files)).address, lambda agent: agent.slots([0, 1]))
    assert caught.value.code == "agent_error"


def test_commands_are_sent_without_an_id_which_old_agents_refuse(peer: StartPeer) -> None:
    guest = peer(LinuxAgent([0, 1]))
    asked(guest.address, online)
    assert [sorted(command) for command in guest.received] == [["arguments", "execute"], ["execute"]]


STALE = [
    b'{"return": []}\n',
    b'{"return": [{"online": true, "can-offline": true, "logical-id": 9}]}\n',
    b'{"error": {"class": "GenericError", "desc": "stale"}}\n',
    b'\xff{"return": 5}\n',
    b'{"return": 5}\n{"return": {}}\n',
    b'half an answer, {"return": [{"onl',
    b"garbage\n\xfe\n\n[]\nnull\n",
    b'{"event": "X", "data": {}}\n',
]


@pytest.mark.parametrize("stale", STALE)
def test_stale_replies_to_an_earlier_client_are_skipped(peer: StartPeer, stale: bytes) -> None:
    assert asked(peer(LinuxAgent([0, 1]).but(SYNC, saying_first(stale))).address, online) == [0, 1]


def test_an_incomplete_command_of_an_earlier_client_is_discarded(tmp_path: Path) -> None:
    agent = LinuxAgent([0, 1])

    async def begun(line: Any) -> None:
        line._unread = '{"execute": "guest-get-vc'
        await agent(line)

    with Peer(begun, path=tmp_path / "agent.sock") as guest:
        assert asked(guest.address, online) == [0, 1]


def test_each_sync_has_its_own_id(peer: StartPeer) -> None:
    guest = peer(LinuxAgent([0]))
    for _time in range(3):
        asked(guest.address, online)
    values = [command["arguments"]["id"] for command in guest.received if command["execute"] == SYNC]
    assert len(set(values)) == 3
    assert all(0 < value < 2**31 for value in values)


def test_one_sync_is_sufficient_without_errors(peer: StartPeer) -> None:
    async def twice(agent: QemuAgent) -> Any:
        return await online(agent), await online(agent)

    guest = peer(LinuxAgent([0]))
    assert asked(guest.address, twice) == ([0], [0])
    assert guest.commands == [SYNC, "guest-get-vcpus", "guest-get-vcpus"]


async def once_more(agent: QemuAgent) -> Any:
    with pytest.raises(HotplugError) as caught:
        await agent.cpus()
    await asyncio.sleep(0.3)
    return caught.value.code, await online(agent)


@pytest.mark.parametrize(
    ("trick", "connections_made"),
    [
        (no_answer, 1),
        (late(1.8), 1),
        (raw(b'{"return": [{"onl'), 1),
        (raw(b'{"return": 5, "id": 5}\n'), 1),
        (raw(b"garbage\n"), 2),
        (raw(b"{}\n"), 1),
        (raw(b'{"return": 7}\n'), 1),
        (raw(b"x" * 2**21), 2),
        (hang_up, 2),
    ],
    ids=["silence", "late", "half", "other id", "garbage", "empty", "wrong", "endless", "hang up"],
)
def test_the_conversation_is_synchronized_again_after_an_error(
    peer: StartPeer, trick: Any, connections_made: int
) -> None:
    guest = peer(LinuxAgent([0, 1]).but("guest-get-vcpus", by_turns(trick, as_ever)))
    code, again = asked(guest.address, once_more, timeout=1.5)
    assert code in ("agent_error", "agent_unavailable")
    assert again == [0, 1]
    assert guest.clients == connections_made


def test_the_client_waits_for_a_slow_reply(peer: StartPeer) -> None:
    guest = peer(LinuxAgent([0]).but("guest-get-vcpus", late(0.2)))
    assert asked(guest.address, online, timeout=5) == [0]


def test_a_cancelled_command_does_not_affect_the_next(peer: StartPeer) -> None:
    asked_for, cancelled = threading.Event(), threading.Event()

    async def once_cancelled(_line: Any, _command: Any, as_usual: Any) -> None:
        asked_for.set()
        await asyncio.to_thread(cancelled.wait, 60)
        await as_usual()

    guest = peer(LinuxAgent([0, 1]).but("guest-get-vcpus", by_turns(once_cancelled, as_ever)))

    async def impatient(agent: QemuAgent) -> Any:
        command = asyncio.ensure_future(agent.cpus())
        assert await asyncio.to_thread(asked_for.wait, 60)
        command.cancel()
        with pytest.raises(asyncio.CancelledError):
            await command
        cancelled.set()
        return await online(agent)

    assert asked(guest.address, impatient) == [0, 1]
    assert guest.commands == [SYNC, "guest-get-vcpus", SYNC, "guest-get-vcpus"]


def test_closing_frees_the_socket_for_the_next_client(tmp_path: Path) -> None:
    with Peer(LinuxAgent([0]), path=tmp_path / "agent.sock") as guest:

        async def open_and_close() -> None:
            agent = commands_at(guest.address, 5)
            await agent.close()
            assert await online(agent) == [0]
            await agent.close()
            await agent.close()

        asyncio.run(open_and_close())
        assert guest.clients == 1


def test_an_agent_on_a_tcp_port_works_too() -> None:
    with Peer(LinuxAgent([0, 1])) as guest:
        assert guest.address.startswith("127.0.0.1:")
        assert asked(guest.address, online) == [0, 1]


def test_a_missing_library_is_reported_with_the_remedy() -> None:
    program = (
        f"import sys; sys.modules['qemu.qmp'] = None; sys.path[:0] = {sys.path!r};"
        "from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent import socket_transport;"
        "from ansible_collections.kvm.hotplug.plugins.module_utils.errors import MissingLibrary\n"
        "try: socket_transport.commands_at('/x', 1)\n"
        "except MissingLibrary as error: print(error.code, error.library)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["backend_missing", "qemu.qmp"]


def test_thousands_of_reads_end_with_the_timeout(peer: StartPeer) -> None:
    guest = peer(LinuxAgent(range(4096)).but("guest-file-open", late(0.05)))
    began = time.monotonic()
    with pytest.raises(HotplugError) as caught:
        asked(guest.address, lambda agent: agent.slots(range(4096)), timeout=1)
    assert caught.value.code == "agent_error"
    assert time.monotonic() - began < 10
