# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""QEMU's arguments for a domain's nodes, distances and memory, from typical XML."""

from __future__ import annotations

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.memory_args import memory_arguments
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import layout_of_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError

CELL_0, CELL_1 = "<cell id='0' cpus='0-3' memory='64' unit='MiB'", "<cell id='1' memory='64' unit='MiB'"


def arguments(numa: str = "", rest: str = "", machine: str = "q35", arch: str = "x86_64") -> str:
    xml = (
        f"<domain><vcpu current='1'>4</vcpu>{rest}<os><type arch='{arch}' machine='{machine}'>hvm</type></os>"
        f"<cpu><topology sockets='2' cores='2' threads='1'/>{f'<numa>{numa}</numa>' if numa else ''}</cpu></domain>"
    )
    domain = read_domain(xml.encode())
    layout = layout_of_domain(domain)
    assert layout is not None
    return " ".join(memory_arguments(domain, layout.slots))


def complaint(numa: str = "", rest: str = "") -> str:
    with pytest.raises(HotplugError) as caught:
        arguments(numa, rest)
    assert caught.value.code == CONFIG_INVALID
    return caught.value.msg


class TestDistances:
    def test_the_arguments_have_no_distances_without_any_in_the_xml(self) -> None:
        assert "dist" not in arguments(f"{CELL_0}/>{CELL_1}/>")

    def test_both_directions_are_equal_unless_the_xml_has_both(self) -> None:
        sibling = "<distances><sibling id='1' value='21'/></distances>"
        assert arguments(f"{CELL_0}>{sibling}</cell>{CELL_1}/>").endswith(
            "-numa dist,src=0,dst=0,val=10 -numa dist,src=0,dst=1,val=21 "
            "-numa dist,src=1,dst=0,val=21 -numa dist,src=1,dst=1,val=10"
        )
        back = "<distances><sibling id='0' value='31'/></distances>"
        assert "src=1,dst=0,val=31" in arguments(f"{CELL_0}>{sibling}</cell>{CELL_1}>{back}</cell>")

    @pytest.mark.parametrize(
        ("sibling", "words"),
        [
            ("id='1' value='10'", "write a number from 11 to 255"),
            ("id='0' value='11'", "write a number from 10 to 10"),
            ("id='1' value='256'", "write a number from 11 to 255"),
            ("id='7' value='20'", "<numa> has no cell 7, but refers to it"),
        ],
    )
    def test_values_that_qemu_would_refuse_are_refused(self, sibling: str, words: str) -> None:
        assert words in complaint(f"{CELL_0}><distances><sibling {sibling}/></distances></cell>{CELL_1}/>")


class TestHmat:
    CACHE = (
        "<cache level='{}' associativity='full' policy='writethrough'><size value='1' unit='MiB'/>"
        "<line value='64' unit='B'/></cache>"
    )

    def links(self, *links: str) -> str:
        return f"<interconnects>{''.join(f'<{link}/>' for link in links)}</interconnects>"

    def test_latencies_bandwidths_and_caches_are_written_in_qemus_format(self) -> None:
        links = self.links(
            "latency initiator='0' target='1' cache='2' type='read' value='7'",
            "bandwidth initiator='0' target='0' type='access' value='3' unit='MiB'",
        )
        caches = self.CACHE.format(2) + self.CACHE.format(1)
        assert arguments(f"{CELL_0}>{caches}</cell>{CELL_1}/>{links}").endswith(
            "-machine hmat=on "
            "-numa hmat-lb,initiator=0,target=1,hierarchy=second-level,data-type=read-latency,latency=7 "
            "-numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-bandwidth,bandwidth=3072K "
            "-numa hmat-cache,node-id=0,size=1024K,level=1,associativity=complex,policy=write-through,line=64 "
            "-numa hmat-cache,node-id=0,size=1024K,level=2,associativity=complex,policy=write-through,line=64"
        )

    def test_the_initiator_of_a_node_without_vcpus_is_the_fastest_node(self) -> None:
        cells = "<cell id='0' cpus='0-1' memory='64' unit='MiB'/><cell id='1' cpus='2-3' memory='64' unit='MiB'/>"
        third = "<cell id='2' memory='64' unit='MiB'/>"
        assert "nodeid=2,initiator=0," in arguments(
            cells + third + self.links("latency initiator='0' target='0' type='access' value='5'")
        )
        by_latency = self.links(
            "latency initiator='0' target='2' type='access' value='9'",
            "latency initiator='1' target='2' type='access' value='5'",
        )
        assert "nodeid=2,initiator=1," in arguments(cells + third + by_latency)
        by_bandwidth = self.links(
            "bandwidth initiator='0' target='2' type='access' value='1024'",
            "bandwidth initiator='1' target='2' type='access' value='2048'",
        )
        assert "nodeid=2,initiator=1," in arguments(cells + third + by_bandwidth)

    @pytest.mark.parametrize(
        ("link", "words"),
        [
            ("latency initiator='0' target='5' type='access' value='5'", "<numa> has no cell 5"),
            ("latency initiator='0' target='0' type='fast' value='5'", "write access, read, write"),
            ("latency initiator='0' target='0' type='read' value='0'", "write a number from 1"),
            ("latency initiator='0' target='0' cache='4' type='read' value='1'", "cache is '4'"),
            ("bandwidth initiator='0' target='0' type='read' value='100'", "QEMU accepts only whole MiB"),
        ],
    )
    def test_values_that_qemu_would_refuse_are_refused(self, link: str, words: str) -> None:
        assert words in complaint(f"{CELL_0}/>{CELL_1}/>{self.links(link)}")

    def test_a_cache_without_a_size_is_refused(self) -> None:
        assert "no <size> or no <line>" in complaint(f"{CELL_0}><cache level='1'/></cell>{CELL_1}/>")


class TestRoomForMemory:
    ROOM = "<maxMemory slots='4' unit='GiB'>2</maxMemory><memory unit='MiB'>512</memory>"

    def test_with_nodes_the_slots_follow_their_memory(self) -> None:
        assert arguments(f"{CELL_0}/>{CELL_1}/>", self.ROOM).startswith("-m 128M,slots=4,maxmem=2048M -object")

    def test_without_nodes_the_slots_follow_the_memory_at_boot(self) -> None:
        assert arguments(rest=self.ROOM) == "-m 512M,slots=4,maxmem=2048M"
        module = "<devices><memory model='dimm'><target><size unit='MiB'>128</size></target></memory></devices>"
        assert arguments(rest=self.ROOM + module) == "-m 384M,slots=4,maxmem=2048M"

    def test_pseries_rounds_up_to_whole_blocks(self) -> None:
        room = "<maxMemory slots='4' unit='MiB'>700</maxMemory><memory unit='MiB'>500</memory>"
        assert arguments(rest=room, machine="pseries", arch="ppc64") == "-m 512M,slots=4,maxmem=768M"

    def test_the_maximum_must_exceed_the_memory_at_boot(self) -> None:
        assert "<maxMemory> is 131072 KiB" in complaint(
            f"{CELL_0}/>{CELL_1}/>", "<maxMemory slots='1' unit='MiB'>128</maxMemory>"
        )

    def test_slots_are_needed(self) -> None:
        assert "slots is missing" in complaint(rest="<maxMemory unit='GiB'>2</maxMemory>")
