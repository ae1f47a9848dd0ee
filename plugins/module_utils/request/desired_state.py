# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the options with the desired state of a guest's vCPUs, without any knowledge of the guest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple, Union

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    COUNT_UNREACHABLE,
    UNKNOWN_NODE,
    UNKNOWN_VCPU,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import ENABLED, Maximum
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import HOTPLUGGABLE


class VcpuTarget(NamedTuple):
    """vCPUs to enable and to disable; with ``exclusive`` all others are disabled."""

    enable: frozenset[int]
    disable: frozenset[int]
    exclusive: bool = False


class NodeTarget(NamedTuple):
    """For each named node the number of vCPUs to have enabled, or the state of all of its vCPUs."""

    nodes: Mapping[int, int | str]


@dataclass(frozen=True)
class CountTarget:
    """The total number of vCPUs; ``spread`` evenly over the nodes, else the lowest ids first."""

    count: int
    spread: bool = False


DesiredState = Union[VcpuTarget, NodeTarget, CountTarget]


def parse_desired_state(params: Mapping[str, Any]) -> DesiredState | None:
    """Return the desired state in ``vcpus``/``exclusive``, ``enabled``, ``nodes`` or ``count``/``placement``.

    None if only ``boot_vcpus`` or ``maximum`` requests a change. Raises ``HotplugError`` for a request that no guest
    can satisfy: malformed or empty lists, contradictions.
    """
    if params.get("exclusive") and params.get("vcpus") is None:
        raise HotplugError(
            CONFLICTING_REQUEST,
            "exclusive can only be combined with vcpus: enabled, nodes and count are complete without it",
        )
    if params.get("placement") == "spread" and params.get("count") is None:
        raise HotplugError(CONFLICTING_REQUEST, "placement can only be combined with count: omit it, or use count")
    if params.get("vcpus") is not None:
        return _vcpu_target(params["vcpus"], bool(params.get("exclusive")))
    if params.get("enabled") is not None:
        return VcpuTarget(_ids(params["enabled"], "enabled", UNKNOWN_VCPU), frozenset(), exclusive=True)
    if params.get("nodes") is not None:
        return _node_target(params["nodes"])
    if params.get("count") is not None:
        return _count_target(params["count"], params.get("placement") == "spread")
    if params.get("boot_vcpus") == HOTPLUGGABLE or params.get("maximum") is not None:
        return None
    raise HotplugError(
        CONFLICTING_REQUEST,
        "there is no desired state: set one of vcpus, enabled, nodes and count, or boot_vcpus: hotpluggable, or "
        "maximum",
    )


def parse_maximum(params: Mapping[str, Any]) -> Maximum | None:
    """Return ``maximum`` and ``maximum_node``, None if the maximum stays; raises ``HotplugError``."""
    number, node = params.get("maximum"), params.get("maximum_node")
    if number is None:
        if node is not None:
            raise HotplugError(CONFLICTING_REQUEST, "maximum_node can only be combined with maximum: omit it")
        return None
    if number < 1:
        raise HotplugError(COUNT_UNREACHABLE, f"maximum is {number}, but a guest has at least one vCPU: give 1 or more")
    return Maximum(int(number), None if node is None else int(node))


def _vcpu_target(items: Sequence[Mapping[str, Any]], exclusive: bool) -> VcpuTarget:
    if not items:
        raise HotplugError(CONFLICTING_REQUEST, "vcpus is empty: name at least one vCPU, or omit the task")
    wanted: dict[int, object] = {}
    _collect(wanted, items, "vcpus", "vCPU", UNKNOWN_VCPU, lambda item: item["state"] == ENABLED)
    return VcpuTarget(
        enable=frozenset(vcpu for vcpu, on in wanted.items() if on),
        disable=frozenset(vcpu for vcpu, on in wanted.items() if not on),
        exclusive=exclusive,
    )


def _node_target(items: Sequence[Mapping[str, Any]]) -> NodeTarget:
    if not items:
        raise HotplugError(CONFLICTING_REQUEST, "nodes is empty: name at least one node, or omit the task")
    wanted: dict[int, int | str] = {}
    _collect(wanted, items, "nodes", "node", UNKNOWN_NODE, _wanted_of_node)
    return NodeTarget(nodes=wanted)


def _wanted_of_node(item: Mapping[str, Any]) -> int | str:
    state, count = item.get("state"), item.get("count")
    if (state is None) == (count is None):
        raise HotplugError(CONFLICTING_REQUEST, f"nodes: set either state or count of node {item['id']}")
    if count is None:
        return str(state)
    if count < 0:
        raise HotplugError(COUNT_UNREACHABLE, f"nodes: node {item['id']} cannot have {count} vCPUs: give 0 or more")
    return int(count)


def _count_target(count: int, spread: bool) -> CountTarget:
    if count < 1:
        raise HotplugError(
            COUNT_UNREACHABLE, f"count is {count}, but a guest keeps at least one vCPU: give 1 or more, or shut it off"
        )
    return CountTarget(count=count, spread=spread)


def _collect(
    wanted: dict[int, Any],
    items: Sequence[Mapping[str, Any]],
    option: str,
    noun: str,
    unknown: str,
    target_of: Callable[[Mapping[str, Any]], object],
) -> None:
    """Map every id to the request of its item; two different requests for one id are a contradiction."""
    for item in items:
        ids = _ids(item["id"], option, unknown)
        desired = target_of(item)
        disputed = [number for number in ids if number in wanted and wanted[number] != desired]
        if disputed:
            raise HotplugError(
                CONFLICTING_REQUEST,
                f"{option}: {noun} {format_cpulist(disputed)} is requested in two different states: name it once",
            )
        wanted.update(dict.fromkeys(ids, desired))


def _ids(text: str, option: str, unknown: str) -> frozenset[int]:
    try:
        return parse_cpulist(text)
    except ValueError as error:
        raise HotplugError(unknown, f"{option}: {error}") from error
