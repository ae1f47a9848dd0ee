# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An expensive reply costs about as much as any other, and does not affect other guests of the run."""

from __future__ import annotations

import json
from typing import Callable

import pytest

from ..support.agent_peer import SYNC, LinuxAgent
from ..support.faulty_peers import LONG_AND_DEEP, says
from ..support.modules import Cost, cost_of
from ..support.peer import AsUsual, Line, Message, Peer, Trick
from ..support.scripted_qemu import Imitation

StartPeer = Callable[..., Peer]

# Generous: formatting the worst of these replies took 12 s and 1.7 GB.
MOST_SECONDS = 1.5
MOST_MEBIBYTES = 96.0
MOST_CHARACTERS = 20_000

MEMBERS = ("return", "error", "neither")


def answering_with(member: str, value: str) -> Trick:
    """Answer with a message of this member alone."""

    async def trick(line: Line, command: Message, _as_usual: AsUsual) -> None:
        prefix = b"\xff" if command["execute"] == SYNC else b""
        number = f', "id": {json.dumps(command["id"])}' if "id" in command else ""
        await line.say_raw(prefix + f'{{"{member}": {value}{number}}}'.encode() + b"\r\n")

    return trick


def check(hostile: Cost, usual: Cost) -> None:
    assert hostile.seconds - usual.seconds < MOST_SECONDS
    assert hostile.mebibytes - usual.mebibytes < MOST_MEBIBYTES
    assert len(json.dumps(hostile.result)) < MOST_CHARACTERS


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Cost:
    """What it costs to look at a guest whose agent answers."""
    folder = tmp_path_factory.mktemp("usual")
    with Peer(Imitation(), path=folder / "qmp.sock") as qemu, Peer(LinuxAgent([0, 1]), path=folder / "a.sock") as agent:
        return cost_of("vcpu_info", qmp_socket=qemu.address, agent_socket=agent.address)


@pytest.mark.parametrize("member", MEMBERS)
def test_an_agents_reply_costs_little(peer: StartPeer, usual: Cost, member: str) -> None:
    agent = peer(LinuxAgent([0, 1]).but("guest-get-vcpus", answering_with(member, LONG_AND_DEEP)))
    hostile = cost_of("vcpu_info", qmp_socket=peer(Imitation()).address, agent_socket=agent.address, timeout=0.6)
    check(hostile, usual)
    assert [vcpu["online"] for vcpu in hostile.result["guests"][0]["vcpus"][:2]] == [None, None]


@pytest.mark.parametrize("command", [SYNC, "guest-file-open", "guest-file-read", "guest-file-close"])
def test_an_agents_reply_to_any_command_costs_little(peer: StartPeer, usual: Cost, command: str) -> None:
    agent = peer(LinuxAgent([0, 1]).but(command, answering_with("neither", LONG_AND_DEEP)))
    hostile = cost_of("vcpu_info", qmp_socket=peer(Imitation()).address, agent_socket=agent.address, timeout=0.6)
    check(hostile, usual)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_monitors_reply_costs_little(peer: StartPeer, usual: Cost, member: str) -> None:
    qemu = peer(Imitation().but("query-hotpluggable-cpus", answering_with(member, LONG_AND_DEEP)))
    hostile = cost_of("vcpu_info", qmp_socket=qemu.address, timeout=0.6)
    check(hostile, usual)
    assert hostile.result["error_code"] in ("monitor_unreachable", "connection_lost")


@pytest.mark.parametrize("number", ["", ', "id": "unknown"', ', "id": [1]'], ids=["none", "unknown", "a list"])
@pytest.mark.parametrize("member", ["return", "error"])
def test_a_monitors_reply_to_no_command_costs_little(peer: StartPeer, usual: Cost, member: str, number: str) -> None:
    text = f'{{"{member}": {LONG_AND_DEEP}{number}}}\r\n'.encode()

    async def stray(line: Line, _command: Message, _as_usual: AsUsual) -> None:
        await line.say_raw(text)

    check(cost_of("vcpu_info", qmp_socket=peer(Imitation().but("query-status", stray)).address, timeout=0.6), usual)


@pytest.mark.parametrize("text", ["[%s]", '{"QMP": {"version": %s, "capabilities": 0}}'])
def test_a_greeting_costs_little(peer: StartPeer, usual: Cost, text: str) -> None:
    monitor = peer(says((text % LONG_AND_DEEP).encode() + b"\r\n"))
    hostile = cost_of("vcpu_info", qmp_socket=monitor.address, timeout=0.6)
    check(hostile, usual)
    assert hostile.result["error_code"] == "monitor_unreachable"


def named(name: str) -> Imitation:
    """Return a QEMU that a batch does not take for another: their vCPUs' threads have the same ids."""
    return Imitation(answers={"query-name": {"return": {"name": name}}})


def test_another_guest_of_the_batch_is_not_delayed(peer: StartPeer) -> None:
    hostile = answering_with("neither", LONG_AND_DEEP)
    guests = [
        {
            "qmp_socket": peer(named(f"hostile{number}")).address,
            "agent_socket": peer(LinuxAgent([0, 1]).but("guest-get-vcpus", hostile)).address,
            "count": 2,
        }
        for number in range(4)
    ]
    innocent = {"qmp_socket": peer(named("innocent")).address, "count": 3}
    cost = cost_of("vcpu_batch", guests=[*guests[:2], innocent, *guests[2:]], defaults={"timeout": 2.0})
    result = cost.result["guests"][2]
    assert (result.get("error_code"), result["changed"]) == (None, True)
    assert cost.seconds < 4 * MOST_SECONDS
