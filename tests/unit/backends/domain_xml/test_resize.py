# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The maximum in a domain's XML is changed with all that depends on it, and nothing else is."""

from __future__ import annotations

import asyncio
import re
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.nodes import nodes_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.resize import resize_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, Layout, Maximum

from ...support.domains import Written, derive_boot, files

OS = "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
TWO_NODES = f"""\
<domain type='kvm'>
  <name>web1</name>
  <vcpu placement='static' current='3'>8</vcpu> <!-- raised in May -->
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>
    <vcpu id='1' enabled='no' hotpluggable='yes'/>
    <vcpu id='2' enabled='no' hotpluggable='yes'/>
    <vcpu id='3' enabled='no' hotpluggable='yes'/>
    <vcpu id='4' enabled='yes' hotpluggable='yes' order='8'/>
    <vcpu id='5' enabled='no' hotpluggable='yes'/>
    <vcpu id='6' enabled='yes' hotpluggable='yes' order='3'/> <!-- the last one plugged -->
    <vcpu id='7' enabled='no' hotpluggable='yes'/>
  </vcpus>
  <cputune>
    <shares>2048</shares>
    <vcpupin vcpu='0' cpuset='0'/>
    <vcpupin vcpu='6' cpuset='1'/>
    <vcpusched vcpus='0-2' scheduler='fifo' priority='1'/>
    <vcpusched vcpus='3,6-7' scheduler='rr' priority='2'/>
    <vcpusched vcpus='5' scheduler='batch'/>
  </cputune>
  {OS}
  <cpu>
    <topology sockets='4' dies='1' cores='2' threads='1'/>
    <numa>
      <cell id='0' cpus='0-3' memory='1' unit='GiB'/>
      <cell id='1' cpus='4-7' memory='1' unit='GiB'/>
    </numa>
  </cpu>
</domain>
"""


def resized(xml: str, vcpus: int, node: int | None = None) -> tuple[Domain, str]:
    data = xml.encode()
    domain, edited = resize_domain(data, read_domain(data), Maximum(vcpus, node))
    return domain, edited.decode()


def refusal(xml: str, vcpus: int, node: int | None = None) -> HotplugError:
    with pytest.raises(HotplugError) as error:
        resized(xml, vcpus, node)
    return error.value


def layout(domain: Domain) -> Layout:
    return asyncio.run(derive_boot(domain)).layout


def changed_lines(before: str, after: str) -> list[str]:
    """Return the lines that only one of the texts has, with a sign."""
    old, new = before.splitlines(), after.splitlines()
    return [f"-{line.strip()}" for line in old if line not in new] + [
        f"+{line.strip()}" for line in new if line not in old
    ]


def test_a_higher_maximum_adds_sockets_and_spreads_the_new_vcpus_over_the_cells() -> None:
    domain, edited = resized(TWO_NODES, 12)
    assert domain.enabled == {0, 4, 6}
    assert changed_lines(TWO_NODES, edited) == [
        "-<vcpu placement='static' current='3'>8</vcpu> <!-- raised in May -->",
        "-<topology sockets='4' dies='1' cores='2' threads='1'/>",
        "-<cell id='0' cpus='0-3' memory='1' unit='GiB'/>",
        "-<cell id='1' cpus='4-7' memory='1' unit='GiB'/>",
        "+<vcpu placement='static' current='3'>12</vcpu> <!-- raised in May -->",
        *(f"+<vcpu id='{vcpu}' enabled='no' hotpluggable='yes'/>" for vcpu in range(8, 12)),
        "+<topology sockets='6' dies='1' cores='2' threads='1'/>",
        "+<cell id='0' cpus='0-3,8-9' memory='1' unit='GiB'/>",
        "+<cell id='1' cpus='4-7,10-11' memory='1' unit='GiB'/>",
    ]


def test_new_vcpus_go_to_the_node_that_is_named() -> None:
    _domain, edited = resized(TWO_NODES, 12, node=1)
    assert "<cell id='0' cpus='0-3' " in edited
    assert "<cell id='1' cpus='4-11' " in edited


def test_a_lower_maximum_removes_the_vcpus_above_it_from_every_list() -> None:
    domain, edited = resized(TWO_NODES, 6)
    assert domain.enabled == {0, 4}
    assert domain.order == {0: 1, 4: 2}
    assert changed_lines(TWO_NODES, edited) == [
        "-<vcpu placement='static' current='3'>8</vcpu> <!-- raised in May -->",
        "-<vcpu id='4' enabled='yes' hotpluggable='yes' order='8'/>",
        "-<vcpu id='6' enabled='yes' hotpluggable='yes' order='3'/> <!-- the last one plugged -->",
        "-<vcpu id='7' enabled='no' hotpluggable='yes'/>",
        "-<vcpupin vcpu='6' cpuset='1'/>",
        "-<vcpusched vcpus='3,6-7' scheduler='rr' priority='2'/>",
        "-<topology sockets='4' dies='1' cores='2' threads='1'/>",
        "-<cell id='1' cpus='4-7' memory='1' unit='GiB'/>",
        "+<vcpu placement='static' current='2'>6</vcpu> <!-- raised in May -->",
        "+<vcpu id='4' enabled='yes' hotpluggable='yes' order='2'/>",
        "+<vcpusched vcpus='3' scheduler='rr' priority='2'/>",
        "+<topology sockets='3' dies='1' cores='2' threads='1'/>",
        "+<cell id='1' cpus='4-5' memory='1' unit='GiB'/>",
    ]


def test_a_cell_without_vcpus_keeps_its_memory() -> None:
    domain, edited = resized(TWO_NODES, 4)
    assert "<cell id='1' memory='1' unit='GiB'/>" in edited
    assert nodes_of(domain) == dict.fromkeys(range(4), 0)
    back = resized(edited, 8, node=1)[0]
    assert nodes_of(back) == nodes_of(read_domain(TWO_NODES.encode()))


def test_without_a_topology_the_maximum_is_the_number() -> None:
    xml = f"<domain>\n<vcpu>2</vcpu>\n{OS}</domain>"
    assert resized(xml, 5)[1] == xml.replace("<vcpu>2", "<vcpu current='2'>5")
    assert resized(xml.replace("<vcpu>", "<vcpu current='1'>"), 1)[1] == xml.replace("<vcpu>2", "<vcpu current='1'>1")


def test_a_socket_with_cores_in_several_cells_is_divided_again() -> None:
    xml = f"""<domain><vcpu>8</vcpu>{OS}<cpu><topology sockets='1' cores='4' threads='2'/><numa>
      <cell id='0' cpus='0-3' memory='1'/><cell id='1' cpus='4-7' memory='1'/></numa></cpu></domain>"""
    nodes = nodes_of(resized(xml, 16)[0])
    assert format_cpulist(vcpu for vcpu in nodes if nodes[vcpu] == 0) == "0-3,8-11"


@pytest.mark.parametrize(
    ("vcpus", "node", "code", "said"),
    [
        (11, None, "count_unreachable", "each socket of its <topology> has 2; set 10 or 12"),
        (1, None, "count_unreachable", "set 2"),
        (12, 2, "unknown_node", "its nodes are 0-1"),
        (4098, None, "count_unreachable", "a q35 machine has at most 4096; set 4096"),
    ],
)
def test_what_the_machine_cannot_have_is_refused_with_what_it_can(
    vcpus: int, node: int | None, code: str, said: str
) -> None:
    error = refusal(TWO_NODES, vcpus, node)
    assert error.code == code
    assert said in error.msg


@pytest.mark.parametrize(
    ("machine", "limit"),
    [("pc", 255), ("pc-i440fx-9.1", 255), ("pc-q35-7.2", 288), ("pc-q35-8.0", 288), ("pc-q35-8.2", 1024)],
)
def test_each_machine_type_has_its_limit(machine: str, limit: int) -> None:
    xml = f"<domain><vcpu>8</vcpu><os><type arch='x86_64' machine='{machine}'>hvm</type></os></domain>"
    assert resized(xml, limit)[0].max_vcpus == limit
    assert f"at most {limit}; set {limit}" in refusal(xml, limit + 1).msg


def test_a_node_is_refused_where_qemu_distributes_the_vcpus() -> None:
    xml = TWO_NODES.replace(" cpus='0-3'", "").replace(" cpus='4-7'", "")
    assert refusal(xml, 12, 1).code == "conflicting_request"
    assert resized(xml, 12)[0].max_vcpus == 12


def test_xml_without_the_number_is_refused() -> None:
    assert refusal(f"<domain>{OS}</domain>", 4).code == "config_invalid"


@st.composite
def machines(draw: st.DrawFn) -> tuple[str, int]:
    """Any x86 domain with a topology, nodes or neither, and the vCPUs of its socket."""
    topology = {level: draw(st.integers(1, most)) for level, most in (("dies", 2), ("cores", 3), ("threads", 2))}
    size = prod(topology.values())
    sockets = draw(st.integers(1, 4))
    vcpus = sockets * size
    cut = draw(st.integers(1, sockets)) * size
    cells = [range(cut), range(cut, vcpus)] if draw(st.booleans()) else []
    listed = [f"cpus='{format_cpulist(ids)}'" if ids else "" for ids in cells]
    numa = "".join(f"<cell id='{node}' {cpus} memory='1'/>" for node, cpus in enumerate(listed))
    levels = "".join(f" {level}='{number}'" for level, number in topology.items())
    cpu = f"<topology sockets='{sockets}'{levels}/><numa>{numa}</numa>" if draw(st.booleans()) or cells else ""
    text = f"<vcpu current='{draw(st.integers(1, vcpus))}'>{vcpus}</vcpu>{OS}"
    return f"<domain>{text}<cpu>{cpu.replace('<numa></numa>', '')}</cpu></domain>", size if cpu else 1


@given(machines(), st.integers(1, 8))
def test_the_next_boot_has_exactly_the_maximum_and_old_vcpus_keep_their_place(
    machine: tuple[str, int], sockets: int
) -> None:
    xml, size = machine
    before = read_domain(xml.encode())
    after, edited = resized(xml, sockets * size)
    assert layout(after).max_vcpus == after.max_vcpus == sockets * size
    kept = min(before.max_vcpus, after.max_vcpus)
    assert [_place(entity) for entity in layout(after).entities[:kept]] == [
        _place(entity) for entity in layout(before).entities[:kept]
    ]
    assert after.enabled == before.enabled & set(range(kept))
    again, same = resized(edited, sockets * size)
    assert (again, same) == (after, edited)


@given(machines(), st.integers(1, 8))
def test_new_vcpus_make_the_cells_as_equal_as_possible(machine: tuple[str, int], sockets: int) -> None:
    xml, size = machine
    before = nodes_of(read_domain(xml.encode()))
    domain, _edited = resized(xml, len(layout(read_domain(xml.encode())).entities) + sockets * size)
    after = nodes_of(domain)
    gained = {node: list(after.values()).count(node) - list(before.values()).count(node) for node in before.values()}
    assert sum(gained.values()) == (sockets * size if before else 0)
    lowest = min((list(after.values()).count(node) for node in gained), default=0)
    assert all(list(after.values()).count(node) - lowest <= size for node, new in gained.items() if new)


def _place(entity: Entity) -> tuple[object, ...]:
    return entity.vcpus, entity.node, dict(entity.position)


@given(files(), st.integers(1, 12))
def test_any_file_keeps_its_comments_and_its_other_vcpus(file: Written, vcpus: int) -> None:
    before = read_domain(file.data)
    kept = range(min(vcpus, file.max_vcpus))
    if not before.enabled & set(kept):
        return
    after, edited = resize_domain(file.data, before, Maximum(vcpus))
    assert after.max_vcpus == vcpus
    assert after.enabled == before.enabled & set(kept)
    assert after.hotpluggable & set(kept) >= before.hotpluggable & set(kept) or after.dialect != "libvirt"
    text = file.text(edited)
    assert text.startswith(file.before)
    assert text.endswith(file.after)
    for vcpu, element in file.elements.items():
        gone = vcpu not in kept
        assert gone or re.sub(r"order='\d+'", "", element) in re.sub(r"order='\d+'", "", text)
    if vcpus == file.max_vcpus:
        assert edited == file.data
