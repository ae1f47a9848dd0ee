# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An agent over libvirt that does not reply, refuses, or sends invalid replies."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError

from ...support.agent_over_libvirt import LibvirtAround, commands_over
from ...support.agent_peer import LinuxAgent
from ...support.faulty_peers import EXPENSIVE

SPARSE = (0, 1, 5)


def test_files_are_read_only_where_the_counts_may_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    around = LibvirtAround(LinuxAgent([0, 1, 2]))
    assert asyncio.run(commands_over(around, monkeypatch).slots([0, 1, 2])) == {0: 0, 1: 1, 2: 2}
    assert around.commands == []
    around = LibvirtAround(LinuxAgent([0, 2, 1]))
    assert asyncio.run(commands_over(around, monkeypatch).slots([0, 1, 2])) == {0: 0, 1: 2, 2: 1}
    assert "guest-file-read" in around.commands


@pytest.mark.parametrize("member", ["return", "error", "neither"])
@pytest.mark.parametrize("name", EXPENSIVE)
def test_an_expensive_reply_is_an_agent_error_at_once(monkeypatch: pytest.MonkeyPatch, name: str, member: str) -> None:
    around = LibvirtAround(LinuxAgent(SPARSE))
    around.replies["guest-file-open"] = f'{{"{member}": {EXPENSIVE[name]}}}'
    began = time.process_time()
    with pytest.raises(HotplugError) as caught:
        asyncio.run(commands_over(around, monkeypatch).slots([0, 1, 2]))
    assert caught.value.code == "agent_error"
    assert time.process_time() - began < 3
    assert len(caught.value.msg) < 1000


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"vcpus": ""},
        {"vcpus": "none", "online": "0"},
        {"vcpus": "0-8192", "online": "0"},
        {"vcpus": ",".join(["0-65535"] * 100_000), "online": "0"},
    ],
    ids=["empty", "no CPU", "words", "too many", "again and again"],
)
def test_impossible_cpus_are_an_agent_error(monkeypatch: pytest.MonkeyPatch, reply: dict[str, str]) -> None:
    around = LibvirtAround(LinuxAgent(SPARSE))
    monkeypatch.setattr(around, "guestVcpus", lambda: reply)
    with pytest.raises(HotplugError) as caught:
        asyncio.run(commands_over(around, monkeypatch).cpus())
    assert caught.value.code == "agent_error"


@pytest.mark.parametrize("request_of", ["cpus", "set_cpus"])
def test_an_agent_that_does_not_respond_is_unavailable(monkeypatch: pytest.MonkeyPatch, request_of: str) -> None:
    around = LibvirtAround(LinuxAgent(SPARSE))
    around.silent = True
    commands = commands_over(around, monkeypatch)
    with pytest.raises(HotplugError) as caught:
        asyncio.run(commands.cpus() if request_of == "cpus" else commands.set_cpus({1: False}))
    assert caught.value.code == "agent_unavailable"


def test_cpus_processed_before_libvirts_timeout_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = LinuxAgent(SPARSE)
    around = LibvirtAround(agent)
    agent.online[2] = False
    onlined = around.setGuestVcpus

    async def call(function: Any, *arguments: Any) -> Any:
        if function == around.setGuestVcpus and not arguments[1]:
            await asyncio.sleep(10)
        return onlined(*arguments) if function == around.setGuestVcpus else function(*arguments)

    monkeypatch.setattr(around, "call", call)
    result = asyncio.run(commands_over(around, monkeypatch, timeout=0.2).set_cpus({1: False, 2: True}))
    assert result.processed == (2,)
    assert result.stopped_at == 1
    assert result.code == "agent_error"
    assert result.refused is False
    assert agent.online == {0: True, 1: True, 2: True}
