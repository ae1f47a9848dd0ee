# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the event source, its monitors, and its end; the peers are scripted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.plugin_utils.events.source import watch_all

from ...support.peer import Conversation, Line, Message, Peer

OPTIONS = {"qmp_socket": "/run/q", "enabled": "0-1"}
PATIENCE = 60


class Qemu(Conversation):
    """A QEMU with vCPU 0, and with an agent; it sends ``events`` after its first replies."""

    def __init__(self, *events: Message, cpus: object = None) -> None:
        super().__init__()
        self._events = list(events)
        self._cpus = [{"cpu-index": 0, "thread-id": 7, "qom-path": "/machine/x"}] if cpus is None else cpus

    async def answer(self, line: Line, command: Message) -> None:
        replies = {
            "qom-list": [{"name": "agent0", "type": "child<virtserialport>"}, {"name": "type", "type": "string"}],
            "qom-get": "org.qemu.guest_agent.0",
            "query-cpus-fast": self._cpus,
            "query-status": {"status": "running"},
        }
        await line.reply(command, {"return": replies[command["execute"]]})
        if command["execute"] == "query-status":
            await line.say(*self._events)
            self._events = []


async def first_events(number: int, **args: Any) -> list[Mapping[str, Any]]:
    """Return the first events, from a queue like that of ansible-rulebook, and cancel the source."""
    queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
    source = asyncio.ensure_future(watch_all(queue, args))
    events = [await asyncio.wait_for(queue.get(), PATIENCE) for _number in range(number)]
    source.cancel()
    await asyncio.wait([source])
    assert source.cancelled()
    return events


def watched(peer: Peer, number: int) -> list[str]:
    guest = {**OPTIONS, "events_socket": peer.address}
    return [event["kind"] for event in asyncio.run(first_events(number, guests=[guest]))]


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ({}, "guests must be a list"),
        ({"guests": {}}, "guests must be a list"),
        ({"guests": []}, "guests must be a list"),
        ({"guests": ["web1"]}, r"guests\[0\]: it must be a dictionary"),
        ({"guests": [{}]}, r"guests\[0\]: set name"),
        ({"guests": [OPTIONS]}, "set events_socket"),
        ({"guests": [{**OPTIONS, "events_socket": 7}]}, "set events_socket"),
        ({"guests": [{**OPTIONS, "events_socket": "/run/q"}]}, "must not be qmp_socket"),
        ({"guests": [{"name": "web1", "events_socket": "/q"}]}, "omit events_socket"),
        ({"guests": [{"name": "web1", "uri": 7}]}, "uri must be a text"),
        (
            {"guests": [{"name": "web1"}, {"name": "web1", "uri": "qemu:///system"}]},
            r"guests\[1\]: web1 is in the list",
        ),
        ({"guests": [{**OPTIONS, "events_socket": "/e"}] * 2}, r"guests\[1\]: /run/q is in the list"),
        ({"guests": [{"name": "web1"}], "statistic": 60}, "no options statistic"),
        ({"guests": [{"name": "web1"}], "statistics": 0}, "statistics is 0"),
        ({"guests": [{"name": "web1"}], "statistics": True}, "statistics is True"),
        ({"guests": [{"name": "web1"}], "statistics": "often"}, "statistics is often"),
        ({"guests": [{"name": "web1"}], "statistics": float("nan")}, "statistics is nan"),
    ],
    ids=str,
)
def test_invalid_options_are_refused(args: dict[str, Any], problem: str) -> None:
    with pytest.raises(HotplugError, match=problem) as refused:
        asyncio.run(watch_all(asyncio.Queue(), args))
    assert refused.value.code == CONFLICTING_REQUEST


def test_events_contain_all_options_but_the_socket_for_events() -> None:
    with Peer(Qemu()) as peer:
        guest = {**OPTIONS, "events_socket": peer.address}
        (event,) = asyncio.run(first_events(1, guests=[guest], eda_feedback_queue=None))
    assert event == {"kind": "connected", "guest": "/run/q", "options": OPTIONS}


def test_only_ports_of_the_agent_are_agents() -> None:
    ports = [{"event": "VSERPORT_CHANGE", "data": {"id": port, "open": True}} for port in ("console0", "agent0")]
    with Peer(Qemu(*ports, {"event": "RESET"})) as peer:
        assert sorted(watched(peer, 3)) == ["agent_connected", "connected", "reset"]


def test_a_refused_unplug_of_another_device_is_no_event() -> None:
    plugged = [{"cpu-index": 1, "thread-id": 7, "qom-path": "/machine/peripheral/core1/thread[0]"}]
    refusals = [{"event": "DEVICE_UNPLUG_GUEST_ERROR", "data": {"device": device}} for device in ("net0", "core1")]

    class Later(Qemu):
        """Sends its events only after the vCPUs are known."""

        async def answer(self, line: Line, command: Message) -> None:
            await super().answer(line, command)
            if command["execute"] == "query-status":
                self._events = refusals

    # The hint has QEMU queried once more.
    with Peer(Later({"event": "STOP"}, cpus=plugged)) as peer:
        guest = {**OPTIONS, "events_socket": peer.address}
        events = asyncio.run(first_events(2, guests=[guest]))
    assert [event["kind"] for event in events] == ["connected", "unplug_refused"]
    assert events[1]["vcpus"] == "1"


@pytest.mark.parametrize(
    "cpus",
    [
        {},
        [7],
        [{"cpu-index": 0}],
        [{"cpu-index": -1, "thread-id": 7, "qom-path": "/x"}],
        [{"cpu-index": 10**9, "thread-id": 7, "qom-path": "/x"}],
        [{"cpu-index": "0", "thread-id": 7, "qom-path": "/x"}],
    ],
    ids=str,
)
def test_a_malformed_reply_is_a_lost_connection(cpus: object) -> None:
    with Peer(Qemu(cpus=cpus)) as peer:
        assert watched(peer, 1) == ["disconnected"]


def test_a_connection_that_is_lost_is_made_again() -> None:
    class Closing(Qemu):
        """Closes the connection after its first reply on the state."""

        async def answer(self, line: Line, command: Message) -> None:
            await super().answer(line, command)
            if command["execute"] == "query-status":
                await line.say({"event": "STOP"})
                await line.close()

    with Peer(Closing(), Qemu()) as peer:
        assert watched(peer, 3) == ["connected", "disconnected", "connected"]


def test_a_source_ends_while_it_connects(tmp_path: Path) -> None:
    accepted = threading.Event()

    async def silent(line: Line) -> None:
        accepted.set()
        await line.wait()

    async def run(address: str) -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        source = asyncio.ensure_future(watch_all(queue, {"guests": [{**OPTIONS, "events_socket": address}]}))
        assert await asyncio.to_thread(accepted.wait, PATIENCE)
        source.cancel()
        await asyncio.wait([source], timeout=PATIENCE)
        assert source.cancelled()

    with Peer(silent, path=tmp_path / "q") as peer:
        asyncio.run(run(peer.address))
