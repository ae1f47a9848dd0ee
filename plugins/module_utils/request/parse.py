# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the options of ``vcpu`` into a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import CONFIG, LIVE, Maximum
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import (
    DesiredState,
    parse_desired_state,
    parse_maximum,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guards import NO_GUARDS, Guards, parse_guards
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import HOTPLUGGABLE, parse_timeout


class Request(NamedTuple):
    """The parsed options of a task. ``guest_online`` is ensure, verify or ignore; ``timeout`` is in seconds.

    ``desired`` is the desired state, None if only boot vCPUs or the maximum are changed. With ``by_agent`` (method
    agent) nothing is plugged: the guest OS onlines and offlines vCPUs. With ``drain`` it offlines a vCPU before it is
    unplugged. With ``hotpluggable_boot_vcpus`` vCPUs that stay enabled in config become hotpluggable there. ``maximum``
    is that of the next boot, None if it stays.
    """

    desired: DesiredState | None
    scope: str = "all"
    whole_cores: bool = False
    guest_online: str = "ensure"
    warns_of_missing_agent: bool = True
    timeout: float = 60.0
    rollback: bool = False
    force: bool = False
    check_mode: bool = False
    by_agent: bool = False
    drain: bool = True
    cputune: str = "apply"
    guards: Guards = NO_GUARDS
    hotpluggable_boot_vcpus: bool = False
    maximum: Maximum | None = None

    @property
    def onlines_plugged(self) -> bool:
        """Whether the agent onlines plugged vCPUs."""
        return self.guest_online != "ignore"

    @property
    def needs_config(self) -> bool:
        """Whether the run fails if the config state cannot be used."""
        return self.scope in ("all", CONFIG) and not self.by_agent


def parse_request(params: Mapping[str, Any], check_mode: bool) -> Request:
    """Return the request in the options of ``vcpu``; raises ``HotplugError`` if no guest can satisfy it."""
    by_agent = params["method"] == "agent"
    boot_vcpus = params["boot_vcpus"] == HOTPLUGGABLE
    if by_agent:
        _refuse_unsupported_by_agent(params)
    for option, is_set in (("boot_vcpus", boot_vcpus), ("maximum", params.get("maximum") is not None)):
        if is_set and params["scope"] == LIVE:
            raise HotplugError(
                CONFLICTING_REQUEST,
                f"{option} excludes scope live, because it changes the config state: use scope all or config",
            )
    return Request(
        desired=parse_desired_state(params),
        scope=params["scope"],
        whole_cores=params["granularity"] == "core",
        guest_online=params["guest_online"],
        warns_of_missing_agent=params["missing_agent"] == "warn",
        timeout=parse_timeout(params),
        rollback=params["on_failure"] == "rollback",
        force=bool(params.get("force")),
        check_mode=check_mode,
        by_agent=by_agent,
        drain=params["drain"],
        cputune=params["cputune"],
        guards=parse_guards(params),
        hotpluggable_boot_vcpus=boot_vcpus,
        maximum=parse_maximum(params),
    )


def _refuse_unsupported_by_agent(params: Mapping[str, Any]) -> None:
    """In the RFC, GUEST excludes NUMA_NODE and CONFIG."""
    if params["nodes"] is not None:
        raise HotplugError(
            CONFLICTING_REQUEST,
            "method agent excludes nodes: the agent has the guest's own CPU numbers, not the "
            "machine's nodes; use vcpus, or method hotplug",
        )
    if params["scope"] == CONFIG:
        raise HotplugError(
            CONFLICTING_REQUEST,
            "method agent excludes scope config: the guest's next boot resets which vCPUs are "
            "online; use scope live, or method hotplug",
        )
    if params["boot_vcpus"] == HOTPLUGGABLE:
        raise HotplugError(
            CONFLICTING_REQUEST,
            "method agent excludes boot_vcpus, which changes the config state: omit one of them",
        )
    if params.get("maximum") is not None:
        raise HotplugError(
            CONFLICTING_REQUEST,
            "method agent excludes maximum, which changes the config state: omit one of them",
        )
