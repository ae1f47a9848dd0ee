# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wrong and hostile peers at a monitor's address."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import parse_address
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, NoListener
from ansible_collections.kvm.hotplug.plugins.module_utils.report.info import info_report

from ...support.faulty_peers import (
    closes_at_once,
    dripping,
    flooding,
    flooding_for_ever,
    from_number,
    instead,
    no_answer,
    raw,
    says,
    says_nothing,
    says_without_end,
)
from ...support.peer import AsUsual, Line, Message, Peer
from ...support.queries import bring, code, desired, enabled, entries, look, steps
from ...support.replay import OSPM, SLOTS, Replay
from ...support.scripted_qemu import Imitation

StartPeer = Callable[..., Peer]

# Nothing below waits for longer than a second or two; a slow machine may.
TIME_LIMIT = 30


def error_at(address: str, patience: float = 10.0) -> HotplugError:
    began = time.monotonic()
    with pytest.raises(HotplugError) as caught:
        look(address, patience)
    assert time.monotonic() - began < TIME_LIMIT
    assert caught.value.msg.isprintable()
    assert len(caught.value.msg) < 1000
    return caught.value


def test_where_there_is_no_socket_the_question_is_whether_the_guest_runs(tmp_path: Path) -> None:
    error = error_at(str(tmp_path / "qmp.sock"))
    assert error.code == "monitor_unreachable"
    assert "is the guest running" in error.msg


def test_a_socket_without_a_listener_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "qmp.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    error = error_at(str(path))
    assert error.code == "monitor_unreachable"
    assert "no process listens" in error.msg


@pytest.mark.skipif(os.geteuid() == 0, reason="root may connect to any socket")
def test_a_socket_of_another_user_needs_permission(peer: StartPeer) -> None:
    qemu = peer(Imitation())
    Path(qemu.address).chmod(0)
    error = error_at(qemu.address)
    assert error.code == "monitor_unreachable"
    assert "become" in error.msg


@pytest.mark.parametrize("name", ["x" * 200, "no/such/directory"])
def test_a_path_without_a_socket_is_no_monitor(tmp_path: Path, name: str) -> None:
    assert error_at(str(tmp_path / name)).code == "monitor_unreachable"


@pytest.mark.parametrize("name", ["a file", "a folder"])
def test_a_file_that_is_no_socket_shows_nothing_of_the_guest(tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").write_text("")
    (tmp_path / "a folder").mkdir()
    error = error_at(str(tmp_path / name))
    assert error.code == "monitor_unreachable"
    assert not isinstance(error, NoListener), "the guest would be taken as shut off"
    assert "is not a socket" in error.msg


def test_a_port_without_a_listener_is_no_monitor() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert error_at(f"127.0.0.1:{port}").code == "monitor_unreachable"


def test_a_monitor_on_a_tcp_port_works_too() -> None:
    with Peer(Imitation()) as qemu:
        assert qemu.address.startswith("127.0.0.1:")
        assert steps(bring(qemu.address, desired(enabled="5"))) == ["plug 5: done"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/run/qmp.sock", "/run/qmp.sock"),
        ("qmp.sock", "qmp.sock"),
        ("./host:4444", "./host:4444"),
        ("localhost:4444", ("localhost", 4444)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("[::1]:4444", ("::1", 4444)),
        ("host:0", "host:0"),
        ("host:65536", "host:65536"),
        ("host:٤", "host:٤"),
        (":4444", ":4444"),
        ("host:", "host:"),
    ],
)
def test_an_address_is_a_path_or_a_host_and_a_port(text: str, address: object) -> None:
    assert parse_address(text) == address


def test_a_monitor_without_a_greeting_is_busy_with_another_client(peer: StartPeer) -> None:
    error = error_at(peer(says_nothing).address, patience=0.5)
    assert error.code == "monitor_busy"
    assert "another client" in error.msg


def test_a_peer_that_closes_immediately_is_no_monitor(peer: StartPeer) -> None:
    error = error_at(peer(closes_at_once).address)
    assert error.code == "monitor_unreachable"
    assert "the peer closed it" in error.msg


GARBAGE = [
    b"QEMU 10.0.2 monitor - type 'help' for more information\r\n(qemu) ",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\r\n",
    b"\x00\xff\xfe\x1b[31m\r\n",
    b"null\r\n",
    b"[]\r\n",
    b"{}\r\n",
    b'{"return": {}}\r\n',
    b'{"QMP": 5}\r\n',
    b'{"QMP": {}}\r\n',
    b'{"QMP": {"version": null, "capabilities": 7}}\r\n',
    b'{"error": {"class": "GenericError", "desc": "\\u001b[31mgo away"}}\r\n',
    b'{"QMP": ' + b"9" * 5000 + b"}\r\n",
    b"[" * 100000 + b"\r\n",
]


@pytest.mark.parametrize("text", GARBAGE, ids=lambda text: repr(text[:20]))
def test_a_peer_with_another_greeting_is_no_monitor(peer: StartPeer, text: bytes) -> None:
    assert error_at(peer(says(text)).address, patience=2).code in ("monitor_unreachable", "monitor_busy")


@pytest.mark.parametrize("text", [b"x", b"\r\n", b'{"event": "X"}\r\n', b" "], ids=repr)
def test_a_peer_with_an_endless_greeting_is_no_monitor(peer: StartPeer, text: bytes) -> None:
    assert error_at(peer(says_without_end(text)).address, patience=2).code in ("monitor_unreachable", "monitor_busy")


@pytest.mark.parametrize(
    "text",
    [
        b"garbage\r\n",
        b"\r\n",
        b"[]\r\n",
        b"\xff\r\n",
        b'{"return": []}\r\n',
        b'{"id": ["a", "list"], "return": {}}\r\n',
        b'{"error": {"class": "GenericError", "desc": "JSON parse error"}}\r\n',
        b'{"event": 5, "data": {}}\r\n',
        b'{"event": "ACPI_DEVICE_OST"}\r\n',
        b"[" * 100000 + b"\r\n",
        b"9" * 5000 + b"\r\n",
        b"x" * (17 * 1024 * 1024),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_garbage_during_the_run_is_a_lost_connection(peer: StartPeer, text: bytes) -> None:
    error = error_at(peer(Imitation().but("query-name", raw(text))).address, patience=1)
    assert error.code in ("connection_lost", "monitor_unreachable")


def test_garbage_during_the_wait_for_the_guest_leaves_the_step_reported(peer: StartPeer) -> None:
    qemu = peer(Imitation().but(SLOTS, from_number(2, raw(b"garbage\r\n"))), Imitation())
    result = bring(qemu.address, desired(disabled="1"))
    assert (code(result), steps(result), result.changed) == ("connection_lost", ["unplug 1: pending"], False)


@pytest.mark.parametrize("question", [SLOTS, OSPM, "query-status", "query-migrate", "qom-get"])
def test_a_command_without_a_reply_times_out(peer: StartPeer, question: str) -> None:
    error = error_at(peer(Imitation().but(question, no_answer)).address, patience=0.5)
    assert error.code == "connection_lost"


def test_a_monitors_reply_that_arrives_byte_by_byte_times_out(peer: StartPeer) -> None:
    error = error_at(peer(Imitation().but("query-name", dripping("x" * 1000, 0.1))).address, patience=0.5)
    assert error.code == "connection_lost"


def test_the_run_waits_for_a_slow_reply(peer: StartPeer) -> None:
    qemu = peer(Imitation().but("query-name", dripping({"name": "slow"}, 0.01)))
    assert look(qemu.address).state.facts.name == "slow"


def test_a_flood_of_events_before_a_reply_is_skipped(peer: StartPeer) -> None:
    qemu = peer(Imitation().but("query-name", flooding(20000)))
    assert enabled(look(qemu.address, patience=30)) == "0-1"


def test_a_flood_of_events_without_end_does_not_outlast_the_timeout(peer: StartPeer) -> None:
    qemu = peer(Imitation().but("query-name", flooding_for_ever))
    assert error_at(qemu.address, patience=1).code == "connection_lost"


WRONG_SLOTS: list[Any] = [
    None,
    {},
    "slots",
    [None],
    [[]],
    [{}],
    [{"props": {}, "vcpus-count": 1}],
    [{"props": {}, "type": "cpu"}],
    [{"vcpus-count": 1, "type": "cpu"}],
    [{"props": [], "vcpus-count": 1, "type": "cpu"}],
    [{"props": "socket-id", "vcpus-count": 1, "type": "cpu"}],
    [{"props": None, "vcpus-count": 1, "type": "cpu"}],
    [{"props": {"socket-id": "0"}, "vcpus-count": 1, "type": "cpu"}],
    [{"props": {"node-id": "0"}, "vcpus-count": 1, "type": "cpu"}],
    [{"props": {"core-id": True}, "vcpus-count": 1, "type": "cpu"}],
    [{"props": {}, "vcpus-count": "1", "type": "cpu"}],
    [{"props": {}, "vcpus-count": 0, "type": "cpu"}],
    [{"props": {}, "vcpus-count": -1, "type": "cpu"}],
    [{"props": {}, "vcpus-count": 1.5, "type": "cpu"}],
    [{"props": {}, "vcpus-count": 10**12, "type": "cpu"}],
    [{"props": {}, "vcpus-count": 1, "type": 7}],
    [{"props": {}, "vcpus-count": 1, "type": "cpu", "qom-path": 7}],
]


@pytest.mark.parametrize("reply", WRONG_SLOTS, ids=json.dumps)
def test_malformed_slots_are_refused(peer: StartPeer, reply: object) -> None:
    error = error_at(peer(Imitation().but(SLOTS, instead(reply))).address)
    assert error.code == "monitor_unreachable"
    assert SLOTS in error.msg


EVIL = "\x1b[31m\x07red\n\x9b\ud800" + "x" * 1000


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.items() for part in item for text in strings(part)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(
    ("question", "reply"),
    [
        ("query-name", {"name": EVIL}),
        ("query-uuid", {"UUID": EVIL}),
        ("query-target", {"arch": EVIL}),
        ("query-status", {"status": EVIL}),
        ("query-migrate", {"status": EVIL}),
        ("qom-get", EVIL),
        (OSPM, [{"slot": "1", "slot-type": "CPU", "source": EVIL, "status": EVIL}]),
        (
            SLOTS,
            [
                {
                    "props": {"core-id": 0, EVIL: EVIL},
                    "vcpus-count": 1,
                    "type": EVIL,
                    "qom-path": "/machine/peripheral/" + EVIL,
                }
            ],
        ),
    ],
    ids=["name", "uuid", "arch", "status", "migration", "machine", "last words", "slots"],
)
def test_untrusted_names_are_safe_to_print(peer: StartPeer, question: str, reply: object) -> None:
    report = info_report(look(peer(Imitation().but(question, instead(reply))).address))
    for text in strings(report):
        assert text.replace("\n", "").isprintable()
        assert len(text) < 3000


def test_the_text_of_a_refusal_is_safe_to_print(peer: StartPeer) -> None:
    async def curses(line: Line, command: Message, _as_usual: AsUsual) -> None:
        await line.reply(command, {"error": {"class": EVIL, "desc": EVIL}})

    result = bring(peer(Imitation().but("device_add", curses)).address, desired(enabled="5"))
    assert result.error is not None
    assert result.error.msg.isprintable()
    assert entries(result)[0].detail.isprintable()


def test_a_recording_that_is_not_followed_fails_the_test(tmp_path: Path) -> None:
    qemu = Peer(Replay("unplug"), path=tmp_path / "qmp.sock")
    with pytest.raises(AssertionError, match="Unscripted"), qemu:
        bring(qemu.address, desired(enabled="7"))
