# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read where a domain's vCPUs and memory are to be on the host: <cputune>, the cpuset of <vcpu>, and <numatune>."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.elements import (
    id_list,
    number,
    only,
    text_of,
    wrong,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import HIGHEST_ID, format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import UNLIMITED, Bandwidth, Placement, Tuning

if TYPE_CHECKING:
    from lxml.etree import _Element

    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain

_SCHEDULERS = ("batch", "idle", "fifo", "rr")
# libvirt's limits, and its default; in microseconds.
_PERIODS = 1000, 1000000
_QUOTAS = 1000, 18446744073709551
_DEFAULT_PERIOD = 100000


def tuning_of(domain: Domain) -> Tuning:
    """Return the placement that the domain requests for each vCPU, and for its memory."""
    vcpus = range(domain.max_vcpus) if domain.bandwidth is not None else sorted({*domain.pins, *domain.schedulers})
    placements = {
        vcpu: Placement(domain.pins.get(vcpu), domain.schedulers.get(vcpu), domain.bandwidth) for vcpu in vcpus
    }
    return Tuning(placements, domain.memory_nodes)


def bandwidth_of(root: _Element) -> Bandwidth | None:
    """Return the bandwidth of each vCPU, None without a <quota>: a <period> alone limits nothing."""
    cputune = only(root, "cputune")
    quota = None if cputune is None else only(cputune, "quota")
    if cputune is None or quota is None:
        return None
    text = text_of(quota)
    if text is not None and text.startswith("-"):
        return UNLIMITED
    amount = number(quota, text, "the number in <quota>", 0, _QUOTAS[1])
    if amount == 0:
        return None
    period = only(cputune, "period")
    if amount < _QUOTAS[0]:
        raise wrong(quota, f"the number in <quota> is {amount}: write a number from {_QUOTAS[0]}, or a negative one")
    length = 0 if period is None else number(period, text_of(period), "the number in <period>", 0, _PERIODS[1])
    if period is not None and 0 < length < _PERIODS[0]:
        raise wrong(period, f"the number in <period> is {length}: write a number from {_PERIODS[0]} to {_PERIODS[1]}")
    return Bandwidth(amount, length or _DEFAULT_PERIOD)


def memory_nodes_of(root: _Element) -> dict[int | None, frozenset[int]]:
    """Return the host nodes of the memory by guest node, None for nodes that are not named; none that numad chooses."""
    numatune = only(root, "numatune")
    found: dict[int | None, frozenset[int]] = {}
    if numatune is None:
        return found
    memory = only(numatune, "memory")
    if memory is not None and memory.get("nodeset") is not None and memory.get("placement") != "auto":
        found[None] = id_list(memory, memory.get("nodeset"), "nodeset")
    for node in numatune.iterfind("memnode"):
        cell = number(node, node.get("cellid"), "cellid", 0, HIGHEST_ID)
        found[cell] = id_list(node, node.get("nodeset"), "nodeset")
    return found


def pins_of(root: _Element, vcpu: _Element | None, max_vcpus: int) -> dict[int, str]:
    """Return the host CPUs that each vCPU may use: its <vcpupin>, else the cpuset of all, unless numad chooses them."""
    pins: dict[int, str] = {}
    cpuset = None if vcpu is None else vcpu.get("cpuset")
    if vcpu is not None and cpuset is not None and vcpu.get("placement") != "auto":
        pins = dict.fromkeys(range(max_vcpus), format_cpulist(id_list(vcpu, cpuset, "cpuset")))
    own: set[int] = set()
    for pin in _tunings(root, "vcpupin"):
        vcpu_id = number(pin, pin.get("vcpu"), "vcpu", 0, HIGHEST_ID)
        if vcpu_id in own:
            raise wrong(pin, f"vCPU {vcpu_id} is pinned a second time: keep one <vcpupin> for it")
        own.add(vcpu_id)
        cpus = format_cpulist(id_list(pin, pin.get("cpuset"), "cpuset"))
        # libvirt ignores those of vCPUs that the domain does not have.
        if vcpu_id < max_vcpus:
            pins[vcpu_id] = cpus
    return pins


def schedulers_of(root: _Element, max_vcpus: int) -> dict[int, str]:
    """Return the scheduler of each vCPU that has a <vcpusched>."""
    schedulers: dict[int, str] = {}
    for tuning in _tunings(root, "vcpusched"):
        scheduler = tuning.get("scheduler")
        if scheduler not in _SCHEDULERS:
            raise wrong(
                tuning, f"the scheduler {printable(scheduler, 40)!r} is unknown: write {', '.join(_SCHEDULERS)}"
            )
        if scheduler in ("fifo", "rr"):
            scheduler = f"{scheduler}:{number(tuning, tuning.get('priority'), 'priority', 0, 99)}"
        vcpus = id_list(tuning, tuning.get("vcpus"), "vcpus")
        twice = vcpus & schedulers.keys()
        if twice:
            raise wrong(tuning, f"vCPU {format_cpulist(twice)} has a <vcpusched> already: keep one for each vCPU")
        schedulers.update(dict.fromkeys((vcpu for vcpu in sorted(vcpus) if vcpu < max_vcpus), scheduler))
    return schedulers


def _tunings(root: _Element, tag: str) -> Iterator[_Element]:
    cputune = only(root, "cputune")
    return iter(()) if cputune is None else (child for child in cputune if child.tag == tag)
