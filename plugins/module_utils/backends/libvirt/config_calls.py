# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which calls of libvirt's API bring a persistent definition to other vCPUs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain

_AFFECT_CONFIG = 2


class Call(NamedTuple):
    """A method of the binding's domain, and what it is called with."""

    method: str
    arguments: tuple[object, ...]


def calls_for(
    domain: Domain, enabled: frozenset[int], hotplug: bool, hotpluggable: frozenset[int] = frozenset()
) -> tuple[Call, ...]:
    """Return the calls that make exactly ``enabled`` of ``domain``, in their order; none where that is so already.

    ``hotpluggable`` are vCPUs that stay enabled and become hotpluggable. On a machine without CPU ``hotplug``,
    ``enabled`` are the first so many vCPUs.
    """
    return _by_vcpu(domain, enabled, hotpluggable) if hotplug else _by_count(domain, len(enabled))


def _by_vcpu(domain: Domain, enabled: frozenset[int], hotpluggable: frozenset[int]) -> tuple[Call, ...]:
    """Return calls of virDomainSetVcpu, which makes each vCPU that it names hotpluggable.

    It disables none that is followed by one that is not hotpluggable: those are enabled, which they are, first, and so
    are those that shall become ``hotpluggable``.
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

    libvirt starts no guest of such a machine that has a hotpluggable vCPU enabled. One that is enabled, or above a gap,
    has to be disabled first, with all others but vCPU 0.
    """
    goal = frozenset(range(count))
    if domain.enabled == goal and not goal & domain.hotpluggable:
        return ()
    kept = domain.enabled & goal
    in_order = domain.enabled == frozenset(range(len(domain.enabled)))
    counts = [count] if in_order and not kept & domain.hotpluggable else [1, *([count] if count > 1 else [])]
    return tuple(Call("setVcpusFlags", (number, _AFFECT_CONFIG)) for number in counts)
