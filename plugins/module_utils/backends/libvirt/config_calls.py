# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of libvirt's API that change the vCPUs of a persistent definition. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain

_AFFECT_CONFIG = 2
_MAXIMUM = 4


class Call(NamedTuple):
    """A method of the binding's domain, and its arguments."""

    method: str
    arguments: tuple[object, ...]


def calls_for(
    domain: Domain, enabled: frozenset[int], hotplug: bool, hotpluggable: frozenset[int] = frozenset()
) -> tuple[Call, ...]:
    """Return the calls, in order, after which ``domain`` has exactly ``enabled``; none if it has already.

    ``hotpluggable`` are vCPUs that stay enabled and become hotpluggable. On a machine without CPU ``hotplug``,
    ``enabled`` are vCPUs 0 to n-1.
    """
    return _by_vcpu(domain, enabled, hotpluggable) if hotplug else _by_count(domain, len(enabled))


def calls_for_maximum(
    domain: Domain, resized: Domain, enabled: frozenset[int], hotplug: bool, hotpluggable: frozenset[int] = frozenset()
) -> tuple[Call, ...] | None:
    """Return the same calls that also lead to the maximum of ``resized``, None if libvirt has none for this domain.

    virDomainSetVcpusFlags changes neither a topology nor cells, and refuses a maximum that does not fit them.
    """
    if domain.topology or domain.cells:
        return None
    change = Call("setVcpusFlags", (resized.max_vcpus, _AFFECT_CONFIG | _MAXIMUM))
    if resized.max_vcpus > domain.max_vcpus:
        return (change, *calls_for(resized, enabled, hotplug, hotpluggable))
    return (*calls_for(domain, enabled, hotplug, hotpluggable), change)


def _by_vcpu(domain: Domain, enabled: frozenset[int], hotpluggable: frozenset[int]) -> tuple[Call, ...]:
    """Return calls of virDomainSetVcpu, which makes each vCPU that it names hotpluggable.

    It cannot disable a vCPU before one that is not hotpluggable. Therefore the first call enables these, although they
    are enabled already, and also the vCPUs that become ``hotpluggable``.
    """
    removed = domain.enabled - enabled
    fixed = (domain.enabled & enabled) - domain.hotpluggable - {0}
    in_the_way = frozenset(vcpu for vcpu in fixed if removed and vcpu > min(removed))
    added = (enabled - domain.enabled) | in_the_way | (fixed & hotpluggable)
    return tuple(
        Call("setVcpu", (format_cpulist(vcpus), state, _AFFECT_CONFIG))
        for vcpus, state in ((added, 1), (removed, 0))
        if vcpus
    )


def _by_count(domain: Domain, count: int) -> tuple[Call, ...]:
    """Return calls of virDomainSetVcpusFlags, which disables the highest vCPUs, and enables the lowest as boot vCPUs.

    libvirt does not start a guest of such a machine with an enabled hotpluggable vCPU. Such a vCPU, or one above a gap,
    has to be disabled first, with all others but vCPU 0.
    """
    goal = frozenset(range(count))
    if domain.enabled == goal and not goal & domain.hotpluggable:
        return ()
    kept = domain.enabled & goal
    in_order = domain.enabled == frozenset(range(len(domain.enabled)))
    counts = [count] if in_order and not kept & domain.hotpluggable else [1, *([count] if count > 1 else [])]
    return tuple(Call("setVcpusFlags", (number, _AFFECT_CONFIG)) for number in counts)
