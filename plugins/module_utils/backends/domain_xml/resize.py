# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the maximum number of vCPUs in a domain's XML, and preserve every byte that does not depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import LIBVIRT, Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.encoding import decode
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.markup import (
    Markup,
    Splice,
    spliced,
    written,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.maximum import with_maximum
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.scan import Places, Tag, find_places
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.state import define
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import INTERNAL, HotplugError

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.state import Definition, DeriveBoot
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Layout, Maximum


async def resize(definition: Definition, maximum: Maximum, derive_boot: DeriveBoot) -> tuple[Definition, Layout]:
    """Return the definition with another maximum, and the layout of its next boot; raises ``HotplugError``."""
    resized = await define(with_maximum(definition.domain, maximum), derive_boot)
    if resized.next_boot is None:
        raise resized.error or HotplugError(INTERNAL, "the next boot has neither a layout nor a reason")
    return resized, resized.next_boot.layout


def resize_domain(data: bytes, domain: Domain, maximum: Maximum) -> tuple[Domain, bytes]:
    """Return the domain with another maximum, and ``data``, which parses to ``domain``, edited so that it parses to it.

    vCPUs above the maximum are removed with their <vcpupin>, and from the lists of <vcpusched> and <cell>. A
    <vcpus> that lists all vCPUs lists the new ones too, in libvirt's dialect. Raises ``HotplugError`` like
    ``with_maximum``.
    """
    goal = with_maximum(domain, maximum)
    if goal == domain:
        return domain, data
    source = decode(data)
    markup = source.text.encode()
    places = find_places(markup)
    edited = source.encode(spliced(markup, _Resize(markup, places, domain, goal).splices()).decode())
    found = read_domain(edited)
    if _comparable(found, domain) != _comparable(goal, domain):
        raise HotplugError(
            INTERNAL, f"the edited domain XML would parse to {found} and not to {goal}, so it was not written"
        )
    return found, edited


def _comparable(domain: Domain, before: Domain) -> Domain:
    """Leave out the placement of new vCPUs, which the XML may contain already."""
    old = range(min(before.max_vcpus, domain.max_vcpus))
    return domain._replace(
        lines={},
        pins={vcpu: cpus for vcpu, cpus in domain.pins.items() if vcpu in old},
        schedulers={vcpu: scheduler for vcpu, scheduler in domain.schedulers.items() if vcpu in old},
    )


class _Resize:
    """The splices that turn a domain into one with another maximum."""

    def __init__(self, markup: bytes, places: Places, domain: Domain, goal: Domain) -> None:
        self._markup = Markup(markup)
        self._places = places
        self._domain = domain
        self._goal = goal

    def splices(self) -> Iterator[Splice]:
        yield from self._number(self._places.vcpu[0])
        yield from self._topology()
        yield from self._cells()
        yield from self._children()
        if self._goal.max_vcpus < self._domain.max_vcpus:
            yield from self._cputune()

    def _number(self, vcpu: Tag) -> Iterator[Splice]:
        yield self._markup.set_number(vcpu, self._goal.max_vcpus)
        enabled = len(self._goal.enabled)
        current = int(vcpu.values.get("current", self._domain.max_vcpus))
        if current != enabled or (enabled != self._goal.max_vcpus and "current" not in vcpu.values):
            yield self._markup.set(vcpu, "current", enabled)

    def _topology(self) -> Iterator[Splice]:
        for topology in self._places.topology:
            if self._goal.topology != self._domain.topology:
                yield self._markup.set(topology, "sockets", self._goal.topology["sockets"])

    def _cells(self) -> Iterator[Splice]:
        for tag, before, after in zip(self._places.cells, self._domain.cells, self._goal.cells):
            if before.cpus == after.cpus:
                continue
            if after.cpus is None:
                yield from self._markup.drop(tag, "cpus")
            else:
                yield self._markup.set(tag, "cpus", format_cpulist(after.cpus))

    def _children(self) -> Iterator[Splice]:
        children = {int(child.values["id"]): child for child in self._places.children}
        for vcpu, child in children.items():
            if vcpu >= self._goal.max_vcpus:
                yield self._markup.remove(child)
            elif self._goal.order.get(vcpu) != self._domain.order.get(vcpu):
                yield self._markup.set(child, "order", self._goal.order[vcpu])
        new = range(self._domain.max_vcpus, self._goal.max_vcpus)
        # In both dialects a vCPU that is not listed is disabled, and in libvirt's it is hotpluggable.
        if new and self._domain.dialect == LIBVIRT and len(children) == self._domain.max_vcpus:
            sibling = children[self._domain.max_vcpus - 1]
            place = self._markup.after(sibling)
            indent = self._markup.indent(sibling)
            yield place, place, "".join(indent + self._element(vcpu, sibling) for vcpu in new)

    def _element(self, vcpu: int, sibling: Tag) -> str:
        quote = self._markup.quote(sibling)
        states = (("id", vcpu), ("enabled", "no"), ("hotpluggable", "yes"))
        attributes = " ".join(written(name, value, quote) for name, value in states)
        return f"<vcpu {attributes}{self._markup.closing(sibling)}"

    def _cputune(self) -> Iterator[Splice]:
        possible = range(self._goal.max_vcpus)
        for pin in self._places.pins:
            if int(pin.values["vcpu"]) not in possible:
                yield self._markup.remove(pin)
        for scheduler in self._places.schedulers:
            vcpus = parse_cpulist(scheduler.values["vcpus"])
            kept = vcpus.intersection(possible)
            if not kept:
                yield self._markup.remove(scheduler)
            elif kept != vcpus:
                yield self._markup.set(scheduler, "vcpus", format_cpulist(kept))
