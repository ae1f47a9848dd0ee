# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The run of one guest: warnings if another client changes the guest at the same time."""

from __future__ import annotations

from pathlib import Path

from ..support.peer import Line, Message, Peer
from ..support.queries import bring, desired, enabled
from ..support.scripted_qemu import Imitation


class PluggedByAnother(Imitation):
    """A QEMU into which another client plugs vCPU 6 with the first plug of ours."""

    async def answer(self, line: Line, command: Message) -> None:
        if command["execute"] == "device_add":
            self.paths[6] = "/machine/peripheral/vcpu6"
        await super().answer(line, command)


def test_an_exclusive_run_warns_of_a_vcpu_that_another_client_plugged(tmp_path: Path) -> None:
    with Peer(PluggedByAnother(), path=tmp_path / "qmp") as peer:
        result = bring(peer.address, desired("0-1,4", exclusive=True))
    assert result.error is None
    assert enabled(result.after) == "0-1,4,6"
    assert [text for text in result.warnings if "vCPU 6 was changed by something else" in text]


def test_a_run_without_other_changes_has_no_warning(tmp_path: Path) -> None:
    with Peer(Imitation(), path=tmp_path / "qmp") as peer:
        result = bring(peer.address, desired("0-1,4", exclusive=True))
    assert enabled(result.after) == "0-1,4"
    assert [text for text in result.warnings if "something else" in text] == []
