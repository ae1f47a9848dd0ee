# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute a domain with other vCPUs enabled, including hotpluggable, order and dialect. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import (
    LIBVIRT,
    Domain,
    by_default,
    contiguous,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Layout


def with_enabled(
    domain: Domain,
    enabled: frozenset[int],
    layout: Layout | None = None,
    hotpluggable: frozenset[int] = frozenset(),
) -> Domain:
    """Return ``domain`` with exactly ``enabled``, as it is written and as it is then parsed.

    vCPUs that become enabled or disabled become hotpluggable, so that they can change again after the next boot. So
    do those that are no longer contiguous with the first ones, and those of ``hotpluggable``. vCPU 0 never does. The
    vCPUs of an entity keep equal attributes. On a machine without CPU hotplug no enabled vCPU is hotpluggable: libvirt
    would not start it. ``layout`` is that of the machine, None if it is unknown.

    Raises config_invalid if the domain lacks one of ``enabled``, or if the machine could not boot with them.
    """
    unknown = enabled.difference(range(domain.max_vcpus))
    if unknown:
        raise HotplugError(
            CONFIG_INVALID,
            f"vCPU {format_cpulist(unknown)} is to be enabled, but the domain XML has 0-{domain.max_vcpus - 1} only: "
            "raise the number in <vcpu>, or name existing vCPUs",
        )
    if layout is not None and not layout.hotplug:
        return _with_boot_vcpus(domain, enabled)
    freed = (hotpluggable & enabled & domain.enabled) - domain.hotpluggable - {0}
    if domain.enabled == enabled and not freed:
        return domain
    groups = [frozenset(entity.vcpus) for entity in layout.entities] if layout is not None else []
    if domain.dialect == LIBVIRT:
        pluggable = _hotpluggable(domain, enabled, groups, freed)
        return domain._replace(enabled=enabled, hotpluggable=pluggable, order=_order(domain, enabled, groups))
    if domain.dialect is None and (enabled - domain.enabled or enabled != contiguous(enabled) or freed):
        pluggable = _hotpluggable(domain, enabled, groups, freed)
        return domain._replace(enabled=enabled, hotpluggable=pluggable, dialect=LIBVIRT)
    return domain._replace(enabled=enabled, hotpluggable=by_default(domain.max_vcpus, enabled))


def _with_boot_vcpus(domain: Domain, enabled: frozenset[int]) -> Domain:
    """Return ``domain`` with exactly ``enabled`` and nothing to plug; only the number of vCPUs can change."""
    scattered = enabled - contiguous(enabled)
    if scattered:
        raise HotplugError(
            CONFIG_INVALID,
            f"vCPU {format_cpulist(scattered)} would be enabled and a lower one disabled, but this machine has no CPU "
            "hotplug: it can only start with vCPUs 0 to n-1; request a count",
        )
    hotpluggable = frozenset(range(domain.max_vcpus)) - enabled
    if domain.dialect != LIBVIRT:
        return domain._replace(enabled=enabled, hotpluggable=hotpluggable)
    return domain._replace(enabled=enabled, hotpluggable=hotpluggable, order=_order(domain, enabled, []))


def _hotpluggable(
    domain: Domain, enabled: frozenset[int], groups: Sequence[frozenset[int]], freed: frozenset[int]
) -> frozenset[int]:
    became_disabled = domain.enabled - enabled
    fixed = _boot_vcpus(domain._replace(hotpluggable=domain.hotpluggable | freed), enabled, groups)
    return (enabled - fixed) | (domain.hotpluggable - enabled) | became_disabled


def _boot_vcpus(domain: Domain, enabled: frozenset[int], groups: Sequence[frozenset[int]]) -> frozenset[int]:
    """Return the ids that stay non-hotpluggable: the first ones only, and whole entities only."""
    fixed = (enabled & domain.enabled) - domain.hotpluggable
    if 0 in enabled - domain.enabled:
        fixed |= {0}
    for group in groups:
        if 0 in group & fixed:
            fixed |= group & enabled
    while True:
        found = fixed
        fixed = contiguous(fixed)
        fixed = fixed.difference(*(group for group in groups if 0 not in group and not group <= fixed))
        if fixed == found:
            return fixed


def _order(domain: Domain, enabled: frozenset[int], groups: Sequence[frozenset[int]]) -> dict[int, int]:
    """Keep the order of unchanged vCPUs; libvirt requires it for all enabled vCPUs or for none."""
    touched = enabled ^ domain.enabled
    order = {vcpu: number for vcpu, number in domain.order.items() if vcpu not in touched}
    if not enabled & order.keys():
        return order
    numbers = _unused(set(order.values()), domain.max_vcpus)
    group_of = {vcpu: group for group in groups for vcpu in group}
    for vcpu in sorted(enabled - domain.enabled):
        siblings = sorted(order[other] for other in group_of.get(vcpu, frozenset()) & order.keys() & enabled)
        order[vcpu] = siblings[0] if siblings else next(numbers)
    return order


def _unused(used: set[int], highest: int) -> Iterator[int]:
    """The numbers above all used ones, and then the unused ones below."""
    last = max(used)
    yield from range(last + 1, highest + 1)
    yield from sorted(set(range(1, last)) - used)
