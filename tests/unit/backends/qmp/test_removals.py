# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plug while QEMU still removes a vCPU: nothing is sent before the device is gone."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp import removals

from ...support.peer import AsUsual, Line, Message, Peer
from ...support.queries import bring, code, desired, entries, steps
from ...support.replay import SLOTS
from ...support.scripted_qemu import Imitation

StartPeer = Callable[..., Peer]

CPU = "child<qemu64-x86_64-cpu>"


def still_removing(folder: str, name: str, times: int) -> Callable[[Line, Message, AsUsual], Any]:
    """List a vCPU that is in no slot in ``folder``, the first ``times`` that it is queried."""
    left = [times]

    async def trick(line: Line, command: Message, as_usual: AsUsual) -> None:
        if command["arguments"]["path"] == folder and left[0]:
            left[0] -= 1
            await line.reply(command, {"return": [{"name": name, "type": CPU}]})
        else:
            await as_usual()

    return trick


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/machine/peripheral", "vcpu5"),
        ("/machine/peripheral", "theirs"),
        ("/machine/peripheral-anon", "device[0]"),
        ("/machine/unattached", "device[7]"),
    ],
)
def test_a_plug_waits_until_qemu_has_removed_the_vcpu(peer: StartPeer, folder: str, name: str) -> None:
    qemu = peer(Imitation().but("qom-list", still_removing(folder, name, 2)))
    result = bring(qemu.address, desired(enabled="5"))
    assert (steps(result), result.changed) == (["plug 5: done"], True)
    assert qemu.changes == ["device_add vcpu5"]
    assert qemu.commands[: qemu.commands.index("device_add")].count("qom-list") == 9


def test_a_vcpu_whose_removal_does_not_end_fails_the_plug_and_nothing_is_sent(
    peer: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removals, "REMOVAL_SECONDS", 0.05)
    qemu = peer(Imitation().but("qom-list", still_removing("/machine/peripheral", "vcpu5", 10000)))
    result = bring(qemu.address, desired(enabled="5"))
    assert (code(result), steps(result), result.changed) == ("unplug_pending", ["plug 5: failed"], False)
    assert "still removing a vCPU that was unplugged (/machine/peripheral/vcpu5)" in entries(result)[0].detail
    assert qemu.changes == []


def test_a_vcpu_that_another_client_plugs_is_not_taken_for_one_that_is_removed(peer: StartPeer) -> None:
    async def was_plugged(line: Line, command: Message, as_usual: AsUsual) -> None:
        qemu_side.paths[3] = "/machine/peripheral/theirs"
        await as_usual()

    qemu_side = Imitation()
    qemu = peer(qemu_side.but("qom-list", was_plugged))
    assert steps(bring(qemu.address, desired(enabled="5"))) == ["plug 5: done"]


@pytest.mark.parametrize("reply", [None, {}, "x", [None], [{"name": 1, "type": CPU}], [{"name": "x"}]])
def test_any_reply_about_the_devices_is_handled(peer: StartPeer, reply: Any) -> None:
    async def trick(line: Line, command: Message, _as_usual: AsUsual) -> None:
        await line.reply(command, {"return": reply})

    qemu = peer(Imitation().but("qom-list", trick))
    assert steps(bring(qemu.address, desired(enabled="5"))) == ["plug 5: done"]


def test_an_invalid_list_of_slots_before_a_plug_is_an_error_and_nothing_is_sent(peer: StartPeer) -> None:
    queries = [0]

    async def trick(line: Line, command: Message, as_usual: AsUsual) -> None:
        queries[0] += 1
        if queries[0] == 2:
            await line.reply(command, {"return": [{"qom-path": 5}]})
        else:
            await as_usual()

    qemu = peer(Imitation().but(SLOTS, trick))
    result = bring(qemu.address, desired(enabled="5"))
    assert (code(result), result.changed, qemu.changes) == ("monitor_unreachable", False, [])
