# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A domain's XML parsed into plain values."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Cell
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.tuning import tuning_of
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, MissingLibrary
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import UNLIMITED, Bandwidth

from ...support.domains import RFC_EXAMPLE

LIBVIRT_DUMP = b"""\
<?xml version="1.0" encoding="utf-8"?>
<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name>
  <uuid>050569ef-a13e-403f-ab3d-af2651473133</uuid>
  <memory unit='GiB'>2</memory>
  <vcpu placement='static' cpuset='0-7,^3' current='3'>8</vcpu>
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>
    <vcpu id='1' enabled='yes' hotpluggable='no' order='2'/>
    <vcpu id='2' enabled='no' hotpluggable='yes'/>
    <vcpu id='5' enabled='yes' hotpluggable='yes' order='3'/>
  </vcpus>
  <cputune>
    <shares>2048</shares>
    <vcpupin vcpu='1' cpuset='1'/>
    <vcpupin vcpu='99' cpuset='1'/>
    <emulatorpin cpuset='0'/>
    <iothreadpin iothread='1' cpuset='2'/>
    <vcpusched vcpus='0-1,5' scheduler='rr' priority='7'/>
    <vcpusched vcpus='2' scheduler='batch'/>
    <iothreadsched iothreads='1' scheduler='idle'/>
  </cputune>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
  </os>
  <cpu mode='custom' match='exact' check='none'>
    <model fallback='forbid'>qemu64</model>
    <topology sockets='2' dies='1' cores='2' threads='2'/>
    <numa>
      <cell id='0' cpus='0-3' memory='1' unit='GiB'/>
      <cell id='1' cpus='4-7' memory='1000' unit='MB'/>
      <cell id='2' memory='0'/>
    </numa>
  </cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-smp'/>
  </qemu:commandline>
</domain>
"""


def read(inside: str) -> Any:
    return read_domain(f"<domain>{inside}</domain>".encode())


def test_xml_written_by_libvirt_is_parsed() -> None:
    domain = read_domain(LIBVIRT_DUMP)
    assert (domain.name, domain.uuid) == ("web", "050569ef-a13e-403f-ab3d-af2651473133")
    assert (domain.arch, domain.machine, domain.emulator) == ("x86_64", "pc-q35-7.2", "/usr/bin/qemu-system-x86_64")
    assert (domain.cpu_mode, domain.cpu_model) == ("custom", "qemu64")
    assert domain.memory == 2 * 1024 * 1024
    assert domain.topology == {"sockets": 2, "dies": 1, "clusters": 1, "cores": 2, "threads": 2}
    assert domain.cells == (
        Cell(0, frozenset(range(4)), 1024 * 1024),
        Cell(1, frozenset(range(4, 8)), 976563),
        Cell(2, None, 0),
    )
    assert domain.dialect == "libvirt"
    assert domain.enabled == {0, 1, 5}
    assert domain.hotpluggable == {2, 3, 4, 5, 6, 7}
    assert domain.order == {0: 1, 1: 2, 5: 3}
    assert domain.pins == {**dict.fromkeys((0, 2, 3, 4, 5, 6, 7), "0-2,4-7"), 1: "1"}
    assert domain.schedulers == {0: "rr:7", 1: "rr:7", 5: "rr:7", 2: "batch"}
    assert domain.lines == {"vcpu": 6, "vcpus": 7, "topology": 28, "numa": 29}


def test_the_rfcs_own_example_is_parsed() -> None:
    domain = read_domain(RFC_EXAMPLE.encode())
    assert (domain.max_vcpus, domain.enabled, domain.dialect) == (3, frozenset({0}), "rfc")
    assert domain.hotpluggable == {1, 2}
    assert domain.pins == {2: "1-2"}
    assert domain.schedulers == {2: "fifo:1"}


@pytest.mark.parametrize("kind", ["xen", "lxc", "", "QEMU", "bhyve"])
def test_a_domain_that_qemu_does_not_run_is_refused(kind: str) -> None:
    with pytest.raises(HotplugError, match="only guests of QEMU can be managed") as caught:
        read_domain(f"<domain type='{kind}'><vcpu>1</vcpu></domain>".encode())
    assert caught.value.code == "config_invalid"


@pytest.mark.parametrize("kind", [" type='qemu'", " type='kvm'", ""])
def test_a_domain_of_qemu_or_without_a_type_is_parsed(kind: str) -> None:
    assert read_domain(f"<domain{kind}><vcpu>1</vcpu></domain>".encode()).max_vcpus == 1


def test_output_only_attributes_are_ignored() -> None:
    domain = read("<vcpu>2</vcpu><vcpus><vcpu id='0' state='enabled' cell='7' pin='nonsense' scheduler=''/></vcpus>")
    assert (domain.cells, domain.pins, domain.schedulers) == ((), {}, {})


def test_without_vcpus_the_first_ones_are_enabled_boot_vcpus() -> None:
    domain = read("<vcpu current='2'>4</vcpu>")
    assert (domain.enabled, domain.hotpluggable, domain.dialect) == ({0, 1}, {2, 3}, None)


def test_without_current_all_are_enabled() -> None:
    assert read("<vcpu>4</vcpu>").enabled == {0, 1, 2, 3}


def test_an_empty_vcpus_counts_as_missing() -> None:
    assert read("<vcpu current='2'>4</vcpu><vcpus/>").enabled == {0, 1}


def test_omitted_vcpus_are_disabled() -> None:
    assert read("<vcpu>4</vcpu><vcpus><vcpu id='2' enabled='yes'/></vcpus>").enabled == {2}
    assert read("<vcpu>4</vcpu><vcpus><vcpu id='2' state='enabled'/></vcpus>").enabled == {2}


def test_without_the_attribute_disabled_vcpus_are_hotpluggable() -> None:
    domain = read("<vcpu>3</vcpu><vcpus><vcpu id='0' enabled='yes'/><vcpu id='1' enabled='no'/></vcpus>")
    assert domain.hotpluggable == {1, 2}


def test_order_0_is_no_order() -> None:
    assert read("<vcpu>1</vcpu><vcpus><vcpu id='0' enabled='yes' order='0'/></vcpus>").order == {}


@pytest.mark.parametrize(
    ("cputune", "bandwidth"),
    [
        ("", None),
        ("<period>50000</period>", None),
        ("<quota>20000</quota>", Bandwidth(20000, 100000)),
        ("<period>50000</period><quota>20000</quota>", Bandwidth(20000, 50000)),
        ("<period>0</period><quota>20000</quota>", Bandwidth(20000, 100000)),
        ("<quota>-1</quota>", UNLIMITED),
        ("<quota>0</quota>", None),
        ("<emulator_quota>20000</emulator_quota><shares>7</shares>", None),
    ],
)
def test_the_bandwidth_of_vcpus_is_the_quota_in_its_period(cputune: str, bandwidth: Bandwidth | None) -> None:
    domain = read(f"<vcpu>2</vcpu><cputune>{cputune}</cputune>")
    assert domain.bandwidth == bandwidth
    assert set(tuning_of(domain).placements) == (set() if bandwidth is None else {0, 1})


def test_the_memory_of_each_guest_node_is_on_host_nodes() -> None:
    memory = "<memory mode='strict' nodeset='0-1'/><memnode cellid='1' mode='strict' nodeset='3'/>"
    tuning = tuning_of(read(f"<vcpu>2</vcpu><numatune>{memory}</numatune>"))
    assert [tuning.memory_of(node) for node in (None, 0, 1)] == [{0, 1}, {0, 1}, {3}]
    assert tuning_of(read("<numatune><memory placement='auto'/></numatune>")).memory_of(0) is None


def test_a_cpuset_that_numad_chooses_pins_nothing() -> None:
    assert read("<vcpu placement='auto' cpuset='1'>2</vcpu>").pins == {}


def test_cells_without_an_id_are_numbered() -> None:
    assert [
        cell.id for cell in read("<vcpu>1</vcpu><cpu><numa><cell memory='1'/><cell memory='1'/></numa></cpu>").cells
    ] == [
        0,
        1,
    ]


@pytest.mark.parametrize(
    ("unit", "kibibytes"),
    [
        (" unit='b'", 1),
        (" unit='bytes'", 1),
        ("", 1000),
        (" unit='k'", 1000),
        (" unit='KiB'", 1000),
        (" unit='KB'", 977),
        (" unit='MiB'", 1000 * 1024),
        (" unit='M'", 1000 * 1024),
        (" unit='mb'", 976563),
        (" unit='G'", 1000 * 1024**2),
        (" unit='GB'", 976562500),
        (" unit='TiB'", 1000 * 1024**3),
    ],
)
def test_memory_is_read_in_libvirts_units_and_rounded_up(unit: str, kibibytes: int) -> None:
    assert read(f"<vcpu>1</vcpu><memory{unit}>1000</memory>").memory == kibibytes


def test_only_children_of_the_domain_count() -> None:
    domain = read(
        "<metadata><vcpu>9</vcpu><vcpus><vcpu id='8'/></vcpus></metadata><!-- <vcpu>7</vcpu> -->"
        "<o:vcpu xmlns:o='urn:o'>6</o:vcpu><vcpu xmlns='urn:p'>5</vcpu>"
        "<description><![CDATA[<vcpu>4</vcpu>]]></description>"
        "<vcpu o:current='9' xmlns:o='urn:o'>1<!-- 2 -->2</vcpu>"
    )
    assert domain.max_vcpus == 12


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-16-be", "iso-8859-1", "cp1252", "koi8-r", "iso8859-15"])
def test_common_encodings_are_read(codec: str) -> None:
    text = f"<?xml version='1.0' encoding='{codec}'?><domain><name>caf\xe9</name><vcpu>1</vcpu></domain>"
    if codec == "koi8-r":
        text = text.replace("caf\xe9", "\N{CYRILLIC SMALL LETTER ZHE}")
    domain = read_domain(text.encode(codec))
    assert domain.name in ("caf\xe9", "\N{CYRILLIC SMALL LETTER ZHE}")


def test_a_missing_lxml_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def imported(name: str, *rest: Any) -> Any:
        if name.startswith("lxml"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", imported)
    with pytest.raises(MissingLibrary) as caught:
        read("<vcpu>1</vcpu>")
    assert (caught.value.code, caught.value.library) == ("backend_missing", "lxml")


def test_a_domain_without_vcpu_has_one_as_in_libvirt() -> None:
    domain = read("<cputune><vcpupin vcpu='0' cpuset='3'/></cputune>")
    assert domain.max_vcpus == 1
    assert domain.enabled == {0}
    assert domain.hotpluggable == set()
    assert domain.pins == {0: "3"}


def test_an_error_is_a_hotplug_error() -> None:
    with pytest.raises(HotplugError, match="the number in <vcpu> is missing"):
        read("<vcpu/>")
