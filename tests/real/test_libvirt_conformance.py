# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt's own schema and QEMU driver, compared with the XML that the collection reads, writes and refuses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.edit import edit_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.transition import with_enabled
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.validation import check_config
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from lab.binaries import distribution
from lab.libvirtd import Libvirt
from lab.software import releases

TURNS = 60

# What libvirt makes of <vcpu current='2'>8</vcpu>, and other ways to say it.
BEGINNINGS = {
    "count": "<vcpu current='2'>8</vcpu>",
    "all": "<vcpu>8</vcpu>",
    "empty": "<vcpu current='2'>8</vcpu><vcpus/>",
    "terse": "<vcpu>8</vcpu><vcpus><vcpu id='0' enabled='yes'/><vcpu id='5' enabled='yes' hotpluggable='yes'/></vcpus>",
    "ordered": "<vcpu>8</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>"
    "<vcpu id='5' enabled='yes' hotpluggable='yes' order='3'/><vcpu id='6' enabled='no' hotpluggable='yes'/>"
    "<vcpu id='2' enabled='yes' hotpluggable='yes' order='8'/></vcpus>",
}


@pytest.fixture(scope="module", params=releases())
def libvirt(request: pytest.FixtureRequest) -> Iterator[Libvirt]:
    with Libvirt(request.param) as found:
        print(f"libvirt {found.version}")
        yield found


def domain_xml(name: str, vcpus: str, rest: str = "") -> bytes:
    return f"""\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>256</memory>
  {vcpus}
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  {rest}
  <devices><emulator>{distribution().path}</emulator></devices>
</domain>
""".encode()


def states(domain: Domain) -> tuple[object, ...]:
    return domain.max_vcpus, domain.enabled, domain.hotpluggable, dict(domain.order)


def edited(data: bytes, enabled: frozenset[int]) -> bytes:
    domain = read_domain(data)
    return edit_domain(data, domain, with_enabled(domain, enabled))


def edits() -> dict[str, bytes]:
    """Files after one, two, three ... edits, from every beginning."""
    dice = random.Random(3)
    found = {}
    for beginning, vcpus in BEGINNINGS.items():
        data = domain_xml("NAME", vcpus)
        for turn in range(TURNS // len(BEGINNINGS)):
            enabled = frozenset({0, *dice.sample(range(8), dice.randrange(8))})
            check_config(read_domain(data), None, enabled)
            data = edited(data, enabled)
            name = f"{beginning}-{turn}"
            found[name] = data.replace(b"NAME", name.encode())
    return found


def test_libvirts_schema_accepts_the_written_xml(libvirt: Libvirt) -> None:
    grammar = etree.RelaxNG(file=str(libvirt.grammar))
    for name, data in edits().items():
        assert grammar.validate(etree.fromstring(data)), (name, grammar.error_log)


def test_libvirt_defines_the_written_xml_and_returns_the_same_states(libvirt: Libvirt) -> None:
    written = edits()
    answers = libvirt.defined(written)
    assert answers.keys() == written.keys()
    for name, answer in answers.items():
        assert answer.startswith("<domain "), (name, answer)
        assert states(read_domain(answer.encode())) == states(read_domain(written[name])), name


def test_xml_written_by_libvirt_can_be_edited(libvirt: Libvirt) -> None:
    dumped = libvirt.defined({name: domain_xml(name, vcpus) for name, vcpus in BEGINNINGS.items()})
    changed = {}
    for name, answer in dumped.items():
        changed[name] = edited(answer.encode(), frozenset({0, 2, 3}))
    for name, answer in libvirt.defined(changed).items():
        assert read_domain(answer.encode()).enabled == {0, 2, 3}, (name, answer)


def test_parsing_refuses_and_accepts_the_same_xml_as_libvirt(libvirt: Libvirt) -> None:
    dice = random.Random(4)
    domains = {}
    for number in range(300):
        elements = []
        for vcpu in dice.sample(range(4), dice.randrange(1, 5)):
            said = [f"id='{vcpu}' enabled='{dice.choice(['yes', 'yes', 'no'])}'"]
            said += dice.choice([[], ["hotpluggable='yes'"], ["hotpluggable='no'"]])
            said += dice.choice([[], [], [f"order='{dice.randrange(0, 5)}'"]])
            elements.append(f"<vcpu {' '.join(said)}/>")
        name = f"random-{number}"
        domains[name] = domain_xml(name, f"<vcpu>4</vcpu><vcpus>{''.join(elements)}</vcpus>")
    taken = 0
    for name, answer in libvirt.defined(domains).items():
        domain = read_domain(domains[name])
        if answer.startswith("<domain "):
            taken += 1
            assert states(read_domain(answer.encode())) == states(domain), (domains[name], answer)
        else:
            with pytest.raises(HotplugError):
                check_config(domain, None, domain.enabled)
    assert taken > 10


@pytest.mark.parametrize(
    ("vcpus", "rest"),
    [
        ("<vcpu current='0'>2</vcpu>", ""),
        ("<vcpu current='3'>2</vcpu>", ""),
        ("<vcpu>many</vcpu>", ""),
        ("<vcpu>0</vcpu>", ""),
        ("<vcpu>2</vcpu><vcpus><vcpu id='2' enabled='yes'/></vcpus>", ""),
        ("<vcpu>2</vcpu><vcpus><vcpu id='0'/></vcpus>", ""),
        ("<vcpu>2</vcpu><vcpus><vcpu id='0' state='enabled'/></vcpus>", ""),
        ("<vcpu>2</vcpu>", "<cpu><topology sockets='3' cores='1' threads='1'/></cpu>"),
        ("<vcpu>2</vcpu>", "<cpu><numa><cell id='0' cpus='0-2' memory='1'/></numa></cpu>"),
        (
            "<vcpu>2</vcpu>",
            "<cpu><numa><cell id='0' cpus='0-1' memory='1'/><cell id='1' cpus='1' memory='1'/></numa></cpu>",
        ),
        ("<vcpu>2</vcpu>", "<cpu><numa><cell id='0' memory='1'/><cell id='2' memory='1'/></numa></cpu>"),
        ("<vcpu>2</vcpu>", "<cpu><numa><cell id='0' memory='1'/><cell id='0' memory='1'/></numa></cpu>"),
        ("<vcpu>2</vcpu>", "<cpu><numa><cell id='0' cpus='0-1'/></numa></cpu>"),
        ("<vcpu>2</vcpu>", "<cpu><numa><cell id='0' cpus='0-1' memory='1' unit='sacks'/></numa></cpu>"),
    ],
)
def test_libvirt_refuses_what_the_validation_refuses(libvirt: Libvirt, vcpus: str, rest: str) -> None:
    data = domain_xml("refused", vcpus, rest)
    if "state=" not in vcpus:
        with pytest.raises(HotplugError):
            check_config(read_domain(data), None, read_domain(data).enabled)
    assert "error: Failed to define domain" in libvirt.defined({"refused": data})["refused"]


def test_libvirt_has_the_same_nodes_and_memory(libvirt: Libvirt) -> None:
    cells = (
        "<cell cpus='0,3' memory='262145' unit='b'/><cell cpus='1-4,^3' memory='1' unit='KB'/>"
        "<cell memory='100' unit='MB'/>"
    )
    data = domain_xml("nodes", "<vcpu>6</vcpu>", f"<cpu><numa>{cells}</numa></cpu>")
    ours, theirs = read_domain(data), read_domain(libvirt.defined({"nodes": data})["nodes"].encode())
    assert [(cell.id, cell.memory) for cell in ours.cells] == [(cell.id, cell.memory) for cell in theirs.cells]
    # libvirt has put the vCPU that is in no cell on the first node.
    assert [cell.cpus for cell in theirs.cells] == [{0, 3, 5}, {1, 2, 4}, None]


def test_the_hosts_libvirt_is_not_changed(libvirt: Libvirt) -> None:
    assert libvirt.defined({"web": domain_xml("web", "<vcpu>1</vcpu>")})["web"].startswith("<domain ")
    assert not Path("/etc/libvirt/qemu/web.xml").exists()
