# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse a domain's XML into plain values, or refuse it with the line of the error and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import (
    LIBVIRT,
    RFC,
    Domain,
    by_default,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.elements import (
    below,
    line_of,
    memory_of,
    number,
    only,
    text_of,
    wrong,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.encoding import XmlText, decode, invalid
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.numa import cells_of, interconnects_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.scan import check_markup
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.tuning import (
    bandwidth_of,
    memory_nodes_of,
    pins_of,
    schedulers_of,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import HIGHEST_ID
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import MissingLibrary, printable

if TYPE_CHECKING:
    from lxml.etree import _Element

_KVM = "kvm"
_KINDS = ("qemu", _KVM)
_TOPOLOGY = ("sockets", "dies", "clusters", "cores", "threads")
_STATES = {RFC: ("state", "enabled", "disabled"), LIBVIRT: ("enabled", "yes", "no")}
_OWN = {RFC: {"state", "cell", "pin", "scheduler"}, LIBVIRT: {"enabled", "hotpluggable", "order"}}
_DECLARATION = re.compile(r"^<\?xml\s[^>]*\?>")


def read_domain(data: bytes) -> Domain:
    """Return the domain in the bytes of its XML.

    Raises config_invalid when they cannot be used, ``MissingLibrary`` without lxml.
    """
    source = decode(data)
    check_markup(source.text.encode())
    root = _parse(source)
    if root.tag != "domain":
        raise wrong(root, "the outermost element is not <domain>: name the file with the guest's <domain>")
    kind = root.get("type", _KVM)
    if kind not in _KINDS:
        raise wrong(
            root, f"its type is {printable(kind, 40)!r}, and only guests of QEMU can be managed: type qemu or kvm"
        )
    return _read(root)


def _parse(source: XmlText) -> _Element:
    try:
        from lxml import etree
    except ImportError:
        raise MissingLibrary("lxml", "https://pypi.org/project/lxml/") from None
    if source.declared is not None:
        try:
            # All readers of the file use its declared encoding, not Python's name for it.
            etree.XMLParser(encoding=source.declared)
        except LookupError:
            raise invalid(
                1,
                f"its encoding {printable(source.declared, 60)!r} is not supported: save it in UTF-8 and declare that",
            ) from None
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    # The text is decoded already; the declaration could only contradict its encoding now.
    undeclared = _DECLARATION.sub(lambda match: re.sub(r"[^\r\n]", " ", match.group()), source.text)
    try:
        return etree.fromstring(undeclared.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise invalid(error.lineno, f"it is not well-formed XML ({printable(error.msg)}): fix it") from None


def _read(root: _Element) -> Domain:
    vcpu = only(root, "vcpu")
    max_vcpus, current = _numbers_of_vcpus(vcpu)
    vcpus = only(root, "vcpus")
    children = [] if vcpus is None else _children(vcpus, max_vcpus)
    dialect = _dialect(children)
    if dialect is None:
        enabled = frozenset(range(current))
    else:
        enabled = frozenset(vcpu_id for vcpu_id, child in children if _state(child, dialect))
    os_type = below(root, "os", "type")
    cpu = only(root, "cpu")
    model = below(root, "cpu", "model")
    topology = below(root, "cpu", "topology")
    numa = below(root, "cpu", "numa")
    memory, slots, max_memory = _memory(root)
    known = {"vcpu": vcpu, "vcpus": vcpus, "topology": topology, "numa": numa, "maxMemory": only(root, "maxMemory")}
    return Domain(
        max_vcpus=max_vcpus,
        enabled=enabled,
        name=text_of(only(root, "name")),
        uuid=text_of(only(root, "uuid")),
        arch=None if os_type is None else os_type.get("arch"),
        machine=None if os_type is None else os_type.get("machine"),
        emulator=text_of(below(root, "devices", "emulator")),
        cpu_mode=None if cpu is None else cpu.get("mode"),
        cpu_model=text_of(model),
        topology={} if topology is None else _topology(topology),
        cells=() if numa is None else tuple(cells_of(numa)),
        interconnects=() if numa is None else tuple(interconnects_of(numa)),
        memory=memory,
        memory_slots=slots,
        max_memory=max_memory,
        dialect=dialect,
        hotpluggable=_hotpluggable(children, dialect, max_vcpus, enabled),
        order=dict(_orders(children)),
        pins=pins_of(root, vcpu, max_vcpus),
        schedulers=schedulers_of(root, max_vcpus),
        bandwidth=bandwidth_of(root),
        memory_nodes=memory_nodes_of(root),
        lines={name: line_of(element) for name, element in known.items() if element is not None},
        kvm=root.get("type", _KVM) == _KVM,
        agent=_has_agent(root),
    )


def _numbers_of_vcpus(vcpu: _Element | None) -> tuple[int, int]:
    """Return the maximum, and the number enabled if no <vcpus> lists them; without <vcpu> a guest has one."""
    if vcpu is None:
        return 1, 1
    max_vcpus = number(vcpu, vcpu.text, "the number in <vcpu>", 1, HIGHEST_ID + 1)
    if "current" not in vcpu.attrib:
        return max_vcpus, max_vcpus
    return max_vcpus, number(vcpu, vcpu.get("current"), "current", 1, max_vcpus)


def _has_agent(root: _Element) -> bool:
    return any(
        target.get("name") == "org.qemu.guest_agent.0" and target.get("state") == "connected"
        for target in root.iterfind("devices/channel/target")
    )


def _children(vcpus: _Element, max_vcpus: int) -> list[tuple[int, _Element]]:
    found: dict[int, _Element] = {}
    for child in vcpus:
        if child.tag != "vcpu":
            continue
        vcpu_id = number(child, child.get("id"), "id", 0, max_vcpus - 1)
        if vcpu_id in found:
            raise wrong(child, f"vCPU {vcpu_id} occurs a second time, after line {line_of(found[vcpu_id])}: keep one")
        found[vcpu_id] = child
    return list(found.items())


def _dialect(children: list[tuple[int, _Element]]) -> str | None:
    dialect = None
    for _vcpu_id, child in children:
        used = [name for name, own in _OWN.items() if not own.isdisjoint(child.keys())]
        if len(used) > 1 or (dialect and used and used != [dialect]):
            raise wrong(
                child,
                "<vcpus> mixes the RFC's attributes (state, cell, pin, scheduler) with libvirt's (enabled, "
                "hotpluggable, order): use only one of the dialects in <vcpus>",
            )
        if not used or _STATES[used[0]][0] not in child.attrib:
            raise wrong(child, "it lacks the vCPU's state: add enabled='yes' or enabled='no'")
        dialect = used[0]
    return dialect


def _state(child: _Element, dialect: str) -> bool:
    name, yes, no = _STATES[dialect]
    return _either(child, name, yes, no)


def _either(element: _Element, name: str, yes: str, no: str) -> bool:
    value = element.get(name)
    if value not in (yes, no):
        raise wrong(element, f"{name} is {printable(value, 40)!r}: write {yes} or {no}")
    return value == yes


def _hotpluggable(
    children: list[tuple[int, _Element]], dialect: str | None, max_vcpus: int, enabled: frozenset[int]
) -> frozenset[int]:
    """Read them like libvirt: without the attribute, disabled vCPUs are hotpluggable and enabled ones are not."""
    if dialect != LIBVIRT:
        return by_default(max_vcpus, enabled)
    written = {
        vcpu_id: _either(child, "hotpluggable", "yes", "no")
        for vcpu_id, child in children
        if "hotpluggable" in child.attrib
    }
    return frozenset(vcpu for vcpu in range(max_vcpus) if written.get(vcpu, vcpu not in enabled))


def _orders(children: list[tuple[int, _Element]]) -> Iterator[tuple[int, int]]:
    for vcpu_id, child in children:
        # To libvirt, 0 is the same as no order.
        order = number(child, child.get("order", "0"), "order", 0, HIGHEST_ID + 1)
        if order:
            yield vcpu_id, order


def _topology(topology: _Element) -> dict[str, int]:
    """Read the levels; those that are optional in libvirt are 1 by default."""
    optional = {"dies": "1", "clusters": "1"}
    return {
        name: number(topology, topology.get(name, optional.get(name)), name, 1, HIGHEST_ID + 1) for name in _TOPOLOGY
    }


def _memory(root: _Element) -> tuple[int, int, int]:
    """Read the memory at boot, the number of slots for more, and the maximum; amounts in KiB, 0 if unknown."""
    memory, most = only(root, "memory"), only(root, "maxMemory")
    total = 0 if memory is None else memory_of(memory, memory.text, "the number in <memory>")
    # The total includes the memory of devices, which occupy slots.
    for size in root.iterfind("devices/memory/target/size"):
        total -= memory_of(size, size.text, "the size of a memory device")
    if most is None:
        return max(total, 0), 0, 0
    slots = number(most, most.get("slots"), "slots", 1, HIGHEST_ID)
    return max(total, 0), slots, memory_of(most, most.text, "the number in <maxMemory>")
