# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Peers that reply anything: a module ends with a result, soon, and never with a defect of its own."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ..support.agent_peer import SYNC, LinuxAgent
from ..support.faulty_peers import from_number
from ..support.fuzzing import check_result, examples, run_module, tricks
from ..support.peer import Peer, Trick
from ..support.scripted_qemu import Imitation

# A peer that does not reply is waited for that long.
TIMEOUT = 0.3
# On a loaded machine.
SOON = 30

of_qemu = st.sampled_from(
    [
        "qmp_capabilities",
        "query-hotpluggable-cpus",
        "query-cpus-fast",
        "query-status",
        "query-target",
        "query-name",
        "query-uuid",
        "qom-get",
        "qom-list",
        "query-migrate",
        "query-acpi-ospm-status",
        "query-kvm",
        "query-chardev",
        "chardev-add",
        "chardev-remove",
        "device_add",
        "device_del",
    ]
)
of_agent = st.sampled_from(
    [SYNC, "guest-get-vcpus", "guest-set-vcpus", "guest-file-open", "guest-file-read", "guest-file-close"]
)


def run(qemu: Imitation, agent: LinuxAgent | None, module: str, **options: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Peer(qemu, path=Path(folder, "qmp")) as monitor:
            options = {"qmp_socket": monitor.address, "timeout": TIMEOUT, **options}
            began = time.monotonic()
            if agent is None:
                result = run_module(module, options)
            else:
                with Peer(agent, path=Path(folder, "agent")) as guest:
                    result = run_module(module, {**options, "agent_socket": guest.address})
            assert time.monotonic() - began < SOON
        for guest_result in result.get("guests", []) if module == "vcpu_info" else [result]:
            check_result({"changed": False, **guest_result})


def desired(module: str, enabled: str) -> dict[str, str]:
    return {} if module == "vcpu_info" else {"enabled": enabled, "details": "full"}


modules = st.sampled_from(["vcpu", "vcpu", "vcpu_info"])
enabled = st.sampled_from(["0", "0-2", "0,5", "0-7"])


@examples("qmp")
@given(modules, enabled, of_qemu, st.integers(1, 4), tricks())
def test_any_reply_of_a_monitor_ends_in_a_result(
    module: str, wanted: str, command: str, number: int, trick: Trick
) -> None:
    run(Imitation().but(command, from_number(number, trick)), None, module, **desired(module, wanted))


@examples("agent")
@given(modules, enabled, of_agent, st.integers(1, 4), tricks())
def test_any_reply_of_an_agent_ends_in_a_result(
    module: str, wanted: str, command: str, number: int, trick: Trick
) -> None:
    agent = LinuxAgent([0, 1]).but(command, from_number(number, trick))
    run(Imitation(), agent, module, **desired(module, wanted))
