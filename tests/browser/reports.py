# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reports that the browser opens: one of a plausible fleet, and one of hostile guests."""

from __future__ import annotations

from typing import Any

from unit.support.reports import HOSTILE_NAMES, audited


def cores(nodes: int, sockets: int, per_socket: int) -> list[dict[str, Any]]:
    """Return the cores of a guest whose sockets are spread over its nodes, one vCPU to a core."""
    return [
        {
            "node": socket * nodes // sockets,
            "socket": socket,
            "core": core,
            "vcpus": str(socket * per_socket + core),
        }
        for socket in range(sockets)
        for core in range(per_socket)
    ]


TWO_NODES = cores(nodes=2, sockets=4, per_socket=2)

FLEET: dict[str, Any] = {
    "guests": [
        audited(
            "web1",
            hypervisor="kvm1",
            cores=TWO_NODES,
            live="0-1,4-6",
            config="0-5",
            online="0-1,4-5",
            planned={"live": "0-5", "config": "0-5", "online": None},
            headroom={"live": 3, "config": 2},
            drift={"config": "2-3,6", "libvirt": "", "placement": "4", "desired": "plug 2-3, unplug 6"},
            drifts="config: 2-3,6, placement: 4, desired: plug 2-3, unplug 6",
        ),
        audited(
            "web2", hypervisor="kvm2", cores=TWO_NODES, live="0-7", config="0-7", headroom={"live": 0, "config": 0}
        ),
        audited(
            "db1",
            hypervisor="kvm1",
            cores=cores(nodes=1, sockets=2, per_socket=8),
            live="0-11",
            config="0-11",
            headroom={"live": 4, "config": 4},
        ),
        audited(
            "build10",
            hypervisor="kvm2",
            state="shutoff",
            cores=TWO_NODES,
            live=None,
            config="0-1",
            headroom={"live": None, "config": 6},
        ),
        audited(
            "build9",
            hypervisor="kvm2",
            state="unknown",
            cores=[],
            live=None,
            headroom={"live": None, "config": None},
            drifts="monitor_busy",
            error_code="monitor_busy",
            msg="the monitor accepts the connection but sends no greeting, because another client holds it",
        ),
    ],
    "failures": [],
}

HOSTILE: dict[str, Any] = {
    "guests": [
        audited(name, hypervisor=name, state=name, uuid=name, machine=name, msg=name, drifts=name, cores=TWO_NODES)
        for name in (*HOSTILE_NAMES, "x" * 10_000)
    ],
    "failures": [{"hypervisor": name, "place": name, "error_code": name, "msg": name} for name in HOSTILE_NAMES],
}
