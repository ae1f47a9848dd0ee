# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wrong and hostile peers at an agent's address."""

from __future__ import annotations

import base64
import json
import os
import resource
import socket
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.client import QemuAgent
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.agent import SetResult

from ...support.agent_peer import STRAY, SYNC, LinuxAgent, asked, dripping, failure, without_end
from ...support.faulty_peers import answering, closes_at_once, hang_up, instead, no_answer, raw, says_nothing
from ...support.peer import VERSION, AsUsual, Line, Message, Peer, Talk, greeting

StartPeer = Callable[..., Peer]

# Nothing below waits for longer than a second or two; a slow machine may.
TIME_LIMIT = 20
EVIL = "\x1b[31m\x07red\n\x9b\u202e\ud800" + "x" * 1000


def error_of(
    address: str, question: Callable[[QemuAgent], Awaitable[Any]] = QemuAgent.cpus, timeout: float = 5.0
) -> HotplugError:
    began = time.monotonic()
    with pytest.raises(HotplugError) as caught:
        asked(address, question, timeout)
    assert time.monotonic() - began < timeout + TIME_LIMIT
    assert caught.value.msg.isprintable()
    assert len(caught.value.msg) < 1000
    return caught.value


def outcome(
    address: str, question: Callable[[QemuAgent], Awaitable[Any]], timeout: float = 5.0
) -> tuple[str | None, str]:
    """The code and the words of an error, whichever way it is told."""
    try:
        result = asked(address, question, timeout)
    except HotplugError as error:
        return error.code, error.msg
    return (result.code, result.reason) if isinstance(result, SetResult) else (None, "")


async def offline_one(agent: QemuAgent) -> Any:
    return await agent.set_cpus({1: False, 0: True})


async def slots(agent: QemuAgent) -> Any:
    return await agent.slots([0, 1])


def test_a_missing_socket_is_reported_with_what_to_check(tmp_path: Path) -> None:
    error = error_of(str(tmp_path / "agent.sock"))
    assert error.code == "agent_unavailable"
    assert "org.qemu.guest_agent.0" in error.msg


def test_a_socket_without_a_listener_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    error = error_of(str(path))
    assert error.code == "agent_unavailable"
    assert "no process listens" in error.msg


@pytest.mark.skipif(os.geteuid() == 0, reason="root may connect to any socket")
def test_a_socket_of_another_user_needs_permission(peer: StartPeer) -> None:
    guest = peer(LinuxAgent([0]))
    Path(guest.address).chmod(0)
    error = error_of(guest.address)
    assert error.code == "agent_unavailable"
    assert "become" in error.msg


@pytest.mark.parametrize("name", ["a file", "x" * 200, "no/such/directory", "\x1b[31m", "nul\0"])
def test_an_address_without_a_socket_is_no_agent(tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").write_text("")
    error = error_of(str(tmp_path / name))
    assert error.code == "agent_unavailable"
    assert ("is not a socket" in error.msg) is (name == "a file")


def test_a_port_without_a_listener_is_no_agent() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert error_of(f"127.0.0.1:{port}").code == "agent_unavailable"


def test_an_agent_that_sends_nothing_is_not_running(peer: StartPeer) -> None:
    error = error_of(peer(says_nothing).address, timeout=0.3)
    assert error.code == "agent_unavailable"
    assert "does not run in the guest" in error.msg


def test_on_a_tcp_port_both_possible_causes_are_named() -> None:
    with Peer(says_nothing) as guest:
        error = error_of(guest.address, timeout=0.3)
    assert error.code == "agent_unavailable"
    assert "does not run in the guest" in error.msg
    assert "another client" in error.msg


class OneAtATime:
    """A server that, like QEMU, accepts no client while it serves one; up to two more may wait."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen(1)
        self._clients: list[socket.socket] = []

    def __enter__(self) -> OneAtATime:
        return self

    def __exit__(self, *exc: object) -> None:
        for one in (*self._clients, self._listener):
            one.close()

    def join(self, served: bool) -> None:
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.address)
        self._clients.append(client)
        if served:
            self._clients.append(self._listener.accept()[0])


def test_a_held_socket_is_distinguished_from_an_agent_that_does_not_run(tmp_path: Path) -> None:
    with OneAtATime(tmp_path / "agent.sock") as qemu:
        qemu.join(served=True)
        error = error_of(qemu.address, timeout=0.3)
    assert error.code == "agent_unavailable"
    assert "another client holds the socket" in error.msg
    assert "run in the guest" not in error.msg


def test_both_causes_are_named_if_no_client_is_served(tmp_path: Path) -> None:
    with OneAtATime(tmp_path / "agent.sock") as qemu:
        error = error_of(qemu.address, timeout=0.3)
    assert error.code == "agent_unavailable"
    assert "another client holds the socket" in error.msg
    assert "does not run in the guest" in error.msg


def test_a_socket_with_waiting_clients_is_held(tmp_path: Path) -> None:
    with OneAtATime(tmp_path / "agent.sock") as qemu:
        for served in (True, False, False):
            qemu.join(served)
        error = error_of(qemu.address)
    assert error.code == "agent_unavailable"
    assert "other clients hold" in error.msg


def test_a_peer_that_closes_immediately_is_no_agent(peer: StartPeer) -> None:
    assert error_of(peer(closes_at_once).address).code == "agent_unavailable"


def test_a_monitor_is_not_an_agent(peer: StartPeer) -> None:
    async def monitor(line: Line) -> None:
        await line.say(greeting(*VERSION))
        await line.say(STRAY, failure("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound"))
        await line.wait()

    error = error_of(peer(monitor).address, timeout=0.5)
    assert error.code == "agent_error"
    assert "qmp_capabilities" in error.msg


GARBAGE = [
    b"login: ",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\n",
    b"null\n",
    b"{}\n",
    b'{"return": null}\n',
    b'\xff{"return": true}\n',
    b'\xff{"return": "1"}\n',
    b'\xff{"return": 1e400}\n',
    b"\xff\n",
    b"\xff\xff\xff",
    json.dumps({"error": {"class": EVIL, "desc": EVIL}}).encode() + b"\n",
    b"\xff" + b"[" * 100000 + b"\n",
    b"\xff" + b"9" * 5000 + b"\n",
    b"x" * 2**21,
    '{"return": "\x9b"}\n'.encode("utf-16"),
]


@pytest.mark.parametrize("text", GARBAGE, ids=lambda text: repr(text[:20]))
def test_a_peer_that_does_not_reply_to_a_sync_is_no_agent(peer: StartPeer, text: bytes) -> None:
    guest = peer(LinuxAgent([0]).but(SYNC, raw(text)))
    assert error_of(guest.address, timeout=0.5).code in ("agent_error", "agent_unavailable")


def test_a_blocked_sync_is_reported_with_the_command_to_allow(peer: StartPeer) -> None:
    async def refusing(line: Any, _command: Any, _as_usual: Any) -> None:
        await line.say(STRAY, failure("Command guest-sync-delimited has been disabled", "CommandNotFound"))

    error = error_of(peer(LinuxAgent([0]).but(SYNC, refusing)).address, timeout=0.5)
    assert error.code == "agent_error"
    assert "has been disabled" in error.msg


def test_a_reply_to_a_sync_that_is_also_an_error_is_invalid(peer: StartPeer) -> None:
    async def both(line: Line, command: Message, _as_usual: AsUsual) -> None:
        answer = {"return": command["arguments"]["id"], **failure(EVIL)}
        await line.say_raw(b"\xff" + json.dumps(answer).encode() + b"\n")

    assert error_of(peer(LinuxAgent([0]).but(SYNC, both)).address).code == "agent_error"


@pytest.mark.parametrize("command", [SYNC, "guest-get-vcpus"])
@pytest.mark.parametrize(
    "text", [b"x", b"\n", b'{"event": "X", "data": {}}\n', b'{"return": 5, "id": 1}\n', b"\xff", b'{"return": 5}\n']
)
def test_endless_data_ends_with_an_error(peer: StartPeer, command: str, text: bytes) -> None:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    error = error_of(peer(LinuxAgent([0]).but(command, without_end(text))).address, timeout=5)
    assert error.code in ("agent_error", "agent_unavailable")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert time.process_time() - began < 3


@pytest.mark.parametrize("command", [SYNC, "guest-get-vcpus"])
def test_a_reply_that_arrives_byte_by_byte_times_out(peer: StartPeer, command: str) -> None:
    text = json.dumps({"return": ["x" * 1000]}).encode() + b"\n"
    guest = peer(LinuxAgent([0]).but(command, dripping(text, 0.1)))
    assert error_of(guest.address, timeout=0.5).code in ("agent_error", "agent_unavailable")


CPU = {"logical-id": 0, "online": True, "can-offline": False}
WRONG_CPUS: list[Any] = [
    None,
    {},
    [],
    "cpus",
    7,
    [None],
    [[]],
    [{}],
    [{**CPU, "logical-id": -1}],
    [{**CPU, "logical-id": 65536}],
    [{**CPU, "logical-id": 10**30}],
    [{**CPU, "logical-id": True}],
    [{**CPU, "logical-id": "0"}],
    [{**CPU, "logical-id": 0.0}],
    [{**CPU, "logical-id": None}],
    [{**CPU, "online": 1}],
    [{**CPU, "can-offline": "yes"}],
    [{"logical-id": 0, "online": True}],
    [CPU, CPU],
    [{**CPU, "logical-id": EVIL}],
    [CPU] * 15000,
]


@pytest.mark.parametrize("reply", WRONG_CPUS, ids=lambda reply: json.dumps(reply)[:40])
def test_malformed_cpus_are_an_agent_error(peer: StartPeer, reply: object) -> None:
    error = error_of(peer(LinuxAgent([0]).but("guest-get-vcpus", instead(reply))).address)
    assert error.code == "agent_error"
    assert "guest-get-vcpus" in error.msg


@pytest.mark.parametrize("reply", [None, {}, [], "1", True, False, 0, -1, 3, 1.0, 10**30, EVIL], ids=repr)
def test_an_impossible_count_is_an_agent_error(peer: StartPeer, reply: object) -> None:
    error = error_of(peer(LinuxAgent([0, 1]).but("guest-set-vcpus", instead(reply))).address, offline_one)
    assert error.code == "agent_error"
    assert "guest-set-vcpus" in error.msg


@pytest.mark.parametrize("reply", [None, {}, [], "1000", True, -1, 2**63, 1.5, EVIL], ids=repr)
def test_an_invalid_handle_is_an_agent_error(peer: StartPeer, reply: object) -> None:
    error = error_of(peer(LinuxAgent([0, 1]).but("guest-file-open", instead(reply))).address, slots)
    assert error.code == "agent_error"
    assert "guest-file-open" in error.msg


@pytest.mark.parametrize(
    "reply",
    [
        None,
        [],
        "XF9TQl8=",
        {},
        {"buf-b64": None},
        {"buf-b64": 7},
        {"buf-b64": "no base64!"},
        {"buf-b64": "YQ"},
        {"buf-b64": "\u00e9"},
        {"buf-b64": "YWFh" * 10000},
        {"buf-b64": EVIL},
    ],
    ids=lambda reply: json.dumps(reply)[:30],
)
def test_a_malformed_file_is_an_agent_error(peer: StartPeer, reply: object) -> None:
    error = error_of(peer(LinuxAgent([0, 1]).but("guest-file-read", instead(reply))).address, slots)
    assert error.code == "agent_error"
    assert "guest-file-read" in error.msg


@pytest.mark.parametrize(
    "text",
    [b"\xff\x00\xfe", EVIL.encode("utf-8", "surrogatepass"), b"\\_SB_.CPUS.C0G0", b"-0", b"", b"0" * 4096],
    ids=lambda text: repr(text[:20]),
)
def test_a_file_with_garbage_gives_no_slot(peer: StartPeer, text: bytes) -> None:
    reply = {"count": len(text), "buf-b64": base64.b64encode(text).decode(), "eof": True}
    guest = peer(LinuxAgent([0, 1]).but("guest-file-read", instead(reply)))
    assert asked(guest.address, slots) is None


@pytest.mark.parametrize(
    "message",
    [
        {"error": None},
        {"error": []},
        {"error": {}},
        {"error": {"class": "GenericError"}},
        {"error": {"desc": "no class"}},
        {"error": {"class": 5, "desc": 7}},
        {"neither": 1},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize(
    ("command", "question"),
    [("guest-get-vcpus", QemuAgent.cpus), ("guest-set-vcpus", offline_one), ("guest-file-open", slots)],
    ids=["cpus", "set_cpus", "slots"],
)
def test_a_malformed_error_is_handled(
    peer: StartPeer, message: Any, command: str, question: Callable[[QemuAgent], Awaitable[Any]]
) -> None:
    guest = peer(LinuxAgent([0, 1]).but(command, answering(message)))
    assert outcome(guest.address, question, timeout=1)[0] in ("agent_error", None)


@pytest.mark.parametrize("question", [QemuAgent.cpus, offline_one, slots], ids=["cpus", "set_cpus", "slots"])
@pytest.mark.parametrize("kind", [EVIL, "GenericError", "CommandNotFound"], ids=["any", "generic", "unknown"])
def test_the_text_of_a_refusal_is_safe_to_print(
    peer: StartPeer, question: Callable[[QemuAgent], Awaitable[Any]], kind: str
) -> None:
    curse = answering(failure(EVIL, kind))
    guest = LinuxAgent([0, 1])
    for command in ("guest-get-vcpus", "guest-set-vcpus", "guest-file-open", "guest-file-close"):
        guest.but(command, curse)
    _code, text = outcome(peer(guest).address, question)
    assert text.isprintable()
    assert len(text) < 1000


@pytest.mark.parametrize("trick", [no_answer, hang_up, raw(b"\xff"), raw(b"[" * 100000 + b"\n"), raw(b"9" * 5000)])
@pytest.mark.parametrize("command", ["guest-file-open", "guest-file-read", "guest-file-close"])
def test_errors_while_files_are_read_end_within_the_timeout(peer: StartPeer, command: str, trick: Any) -> None:
    error = error_of(peer(LinuxAgent([0, 1]).but(command, trick)).address, slots, timeout=0.5)
    assert error.code in ("agent_error", "agent_unavailable")


def test_untrusted_text_is_not_logged_to_the_terminal(peer: StartPeer, capfd: pytest.CaptureFixture[str]) -> None:
    text = json.dumps({"id": EVIL, "return": EVIL}).encode() + b"\n" + EVIL.encode("utf-8", "replace") + b"\n"
    error_of(peer(LinuxAgent([0]).but("guest-get-vcpus", raw(text))).address, timeout=0.5)
    assert capfd.readouterr() == ("", "")


def test_observing_sends_no_command_that_changes_anything(peer: StartPeer) -> None:
    guest: Talk = LinuxAgent([0, 1])
    listening = peer(guest)
    asked(listening.address, slots)
    assert not {"guest-set-vcpus", "guest-file-write"} & set(listening.commands)
    assert {
        command["arguments"]["mode"] for command in listening.received if command["execute"] == "guest-file-open"
    } == {"r"}
