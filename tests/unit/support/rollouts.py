# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of vcpu_batch and the rows of a rollout, as the tests of plugin_utils need them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.plugin_utils.desired import desired_rows
from ansible_collections.kvm.hotplug.plugins.plugin_utils.rollout_plan import plan_rows

SOCKET = "/run/web1.sock"
WEB1 = {"qmp_socket": SOCKET, "count": 4}

Rows = list[dict[str, Any]]


def result(live: str | None, *steps: str, config: str | None = None, **more: Any) -> dict[str, Any]:
    """Return what vcpu_batch returns of a guest with 8 vCPUs, these enabled; steps are such as ``plug 4 done``."""

    def is_in(vcpu: int, ids: str | None) -> str | None:
        return None if ids is None else "enabled" if str(vcpu) in ids else "disabled"

    vcpus = [
        {"id": vcpu, "live": is_in(vcpu, live), "config": is_in(vcpu, config), "online": None, "thread_id": 1}
        for vcpu in range(8)
    ]
    return {
        "item": SOCKET,
        "failed": False,
        "skipped": False,
        "changed": bool(steps),
        "msg": "",
        "vcpus": vcpus,
        "steps": [_step(*step.split()) for step in steps],
        "guest": {"name": "web1", "state": "running", "uuid": None},
        **more,
    }


def _step(kind: str, vcpus: str, status: str, note: str = "") -> dict[str, Any]:
    return {"step": kind, "vcpus": vcpus, "status": status, "makes_hotpluggable": note == "hotpluggable"}


def failure(code: str, msg: str = "why") -> dict[str, Any]:
    """Return what vcpu_batch returns of a guest that it could not inspect."""
    failed = {"item": SOCKET, "failed": True, "skipped": False, "changed": False, "steps": []}
    return {**failed, "error_code": code, "msg": msg}


def desired(
    *guests: Any, defaults: Mapping[str, Any] | None = None, inventory: Mapping[str, Any] | None = None
) -> Rows:
    """Return the rows of these guests on the hypervisor h1."""
    return desired_rows(guests, defaults or {}, {"h1": {}, **(inventory or {})}, "h1")


def planned(live: str | None, *steps: str, **more: Any) -> Rows:
    """Return the row of a guest for which a batch planned these steps, with the state that they lead to."""
    return plan_rows(desired(WEB1), {"guests": [result(live, *steps, **more)]})
