# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the enabled vCPUs in a domain's XML: replace a few bytes, and preserve every other byte of the file."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import LIBVIRT, Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.encoding import decode
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.markup import (
    Markup,
    Splice,
    spliced,
    written,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.scan import Places, Tag, find_places
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import INTERNAL, HotplugError

# The attributes that the RFC's three levels of detail add to the state of a vCPU.
DETAILS: Mapping[str, tuple[str, ...]] = {
    "minimal": (),
    "numa": ("cell",),
    "full": ("cell", "pin", "scheduler"),
}
_OUTPUT_ONLY = DETAILS["full"]


def edit_domain(
    data: bytes,
    domain: Domain,
    goal: Domain,
    detail: str | None = None,
    nodes: Mapping[int, int] | None = None,
) -> bytes:
    """Return ``data``, which parses to ``domain``, edited so that it parses to ``goal``, a transition of it.

    ``detail`` is one of ``DETAILS``, or None for the attributes that the file has; it applies to the RFC's dialect, as
    does ``nodes``, the node of each vCPU.
    """
    source = decode(data)
    markup = source.text.encode()
    edit = _Edit(markup, find_places(markup), domain, goal, detail, nodes or {})
    edited = source.encode(spliced(markup, edit.splices()).decode())
    found = read_domain(edited)
    if found._replace(lines={}) != goal._replace(lines={}):
        raise HotplugError(
            INTERNAL, f"the edited domain XML would parse to {found} and not to {goal}, so it was not written"
        )
    return edited


class _Edit:
    """The splices that turn one domain into another."""

    def __init__(
        self,
        markup: bytes,
        places: Places,
        domain: Domain,
        goal: Domain,
        detail: str | None,
        nodes: Mapping[int, int],
    ) -> None:
        self._markup = Markup(markup)
        self._vcpu = places.vcpu[0] if places.vcpu else None
        self._vcpus = places.vcpus[0] if places.vcpus else None
        self._children = {int(child.values["id"]): child for child in places.children}
        self._domain = domain
        self._goal = goal
        self._detail = detail
        self._truth: dict[str, Mapping[int, object]] = {
            "cell": nodes,
            "pin": goal.pins,
            "scheduler": goal.schedulers,
        }

    def splices(self) -> Iterator[Splice]:
        if self._vcpu is not None:
            yield from self._current(self._vcpu)
        if self._goal.dialect is None or (self._goal == self._domain and self._detail is None):
            return
        if self._children:
            for vcpu, child in self._children.items():
                yield from self._changes(vcpu, child)
            yield from self._additions()
        elif self._vcpu is not None and self._vcpus is None:
            yield self._new_element(self._vcpu)
        elif self._vcpu is not None and self._vcpus is not None:
            yield self._filled_element(self._vcpus, self._vcpu)

    def _current(self, vcpu: Tag) -> Iterator[Splice]:
        count = len(self._goal.enabled)
        said = vcpu.values.get("current")
        if said is None and count == self._goal.max_vcpus:
            return
        if said is None or int(said) != count:
            yield self._markup.set(vcpu, "current", count)

    def _changes(self, vcpu: int, child: Tag) -> Iterator[Splice]:
        for name, value in self._attributes(vcpu, self._shown_by(child)):
            if value is None:
                yield from self._markup.drop(child, name)
            elif child.values.get(name) != str(value):
                yield self._markup.set(child, name, value)

    def _attributes(self, vcpu: int, shown: Sequence[str]) -> Iterator[tuple[str, object]]:
        """The attributes of a vCPU's element; None marks attributes that it must not have."""
        is_enabled = vcpu in self._goal.enabled
        if self._goal.dialect == LIBVIRT:
            yield "enabled", "yes" if is_enabled else "no"
            if self._is_new(vcpu) or (vcpu in self._domain.hotpluggable) != (vcpu in self._goal.hotpluggable):
                yield "hotpluggable", "yes" if vcpu in self._goal.hotpluggable else "no"
            if self._is_new(vcpu):
                yield "order", self._goal.order.get(vcpu)
            return
        yield "state", "enabled" if is_enabled else "disabled"
        for name in _OUTPUT_ONLY:
            if name not in shown:
                yield name, None
            elif name != "cell" or self._truth["cell"] or not self._goal.cells:
                yield name, self._truth[name].get(vcpu)

    def _is_new(self, vcpu: int) -> bool:
        """Whether the vCPU's state has changed, or is not written yet."""
        return vcpu not in self._children or (vcpu in self._domain.enabled) != (vcpu in self._goal.enabled)

    def _shown_by(self, child: Tag) -> Sequence[str]:
        if self._detail is not None:
            return DETAILS[self._detail]
        return [name for name in _OUTPUT_ONLY if name in child.values]

    def _shown_at_most(self) -> Sequence[str]:
        if self._detail is not None:
            return DETAILS[self._detail]
        names = {name for child in self._children.values() for name in child.values}
        return next((DETAILS[level] for level in ("minimal", "numa") if names.isdisjoint(_beyond(level))), _OUTPUT_ONLY)

    def _additions(self) -> Iterator[Splice]:
        """Elements for vCPUs that were disabled by omission, each after its predecessor."""
        shown = self._shown_at_most()
        there = sorted(self._children)
        for vcpu in sorted(self._goal.enabled - self._children.keys()):
            follows = bisect(there, vcpu)
            if follows:
                sibling = self._children[there[follows - 1]]
                place = self._markup.after(sibling)
                yield place, place, self._markup.indent(sibling) + self._element(vcpu, shown, sibling)
            else:
                sibling = self._children[there[0]]
                yield sibling.start, sibling.start, self._element(vcpu, shown, sibling) + self._markup.indent(sibling)

    def _new_element(self, vcpu: Tag) -> Splice:
        place = self._markup.after(vcpu)
        indent = self._markup.indent(vcpu)
        return place, place, f"{indent}<vcpus>{self._elements(indent, vcpu)}{indent}</vcpus>"

    def _filled_element(self, vcpus: Tag, vcpu: Tag) -> Splice:
        indent = self._markup.indent(vcpus)
        elements = self._elements(indent, vcpu)
        if vcpus.is_empty:
            return vcpus.last, vcpus.end, f">{elements}{indent}</vcpus>"
        is_bare = self._markup.text.startswith(b"</", vcpus.inside)
        return vcpus.inside, vcpus.inside, elements + (indent if is_bare else "")

    def _elements(self, indent: str, sibling: Tag) -> str:
        """All vCPUs, indented one level more than ``indent``, which is the first level."""
        deeper = indent + indent.lstrip("\r\n")
        return "".join(deeper + self._element(vcpu, (), sibling) for vcpu in range(self._goal.max_vcpus))

    def _element(self, vcpu: int, shown: Sequence[str], sibling: Tag) -> str:
        quote = self._markup.quote(sibling)
        said = [("id", vcpu), *self._attributes(vcpu, shown)]
        attributes = "".join(f" {written(name, value, quote)}" for name, value in said if value is not None)
        return f"<vcpu{attributes}{self._markup.closing(sibling)}"


def _beyond(level: str) -> set[str]:
    return set(_OUTPUT_ONLY) - set(DETAILS[level])
