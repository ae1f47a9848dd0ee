# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Typical domain XML before and after an edit."""

from __future__ import annotations

import difflib
import resource
import time
from collections.abc import Sequence

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.edit import edit_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.encoding import SIZE_LIMIT
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.nodes import nodes_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.transition import with_enabled
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, Layout

from ...support.domains import RFC_EXAMPLE


def edited(
    text: str, enabled: Sequence[int], detail: str | None = None, entities: Sequence[tuple[int, ...]] = ()
) -> str:
    domain = read_domain(text.encode())
    layout = Layout(tuple(Entity(number, vcpus) for number, vcpus in enumerate(entities))) if entities else None
    goal = with_enabled(domain, frozenset(enabled), layout)
    data = edit_domain(text.encode(), domain, goal, detail, nodes_of(domain))
    assert read_domain(data).enabled == frozenset(enabled)
    return data.decode()


def changes(text: str, enabled: Sequence[int], detail: str | None = None) -> str:
    """Return the lines that an edit changes, with - and +."""
    lines = difflib.ndiff(text.splitlines(), edited(text, enabled, detail).splitlines())
    return "\n".join(line for line in lines if line[0] in "+-")


def test_a_file_without_vcpus_gets_libvirts_dialect_for_a_sparse_set() -> None:
    """Enabling 2 would need only current='3', but then the guest would boot on it and not let go of it."""
    before = """\
<domain type='kvm'>
  <name>web</name>
  <vcpu placement='static' current='2'>4</vcpu> <!-- ask before raising -->
  <memory>1048576</memory>
</domain>
"""
    after = """\
<domain type='kvm'>
  <name>web</name>
  <vcpu placement='static' current='3'>4</vcpu> <!-- ask before raising -->
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no'/>
    <vcpu id='1' enabled='yes' hotpluggable='no'/>
    <vcpu id='2' enabled='yes' hotpluggable='yes'/>
    <vcpu id='3' enabled='no' hotpluggable='yes'/>
  </vcpus>
  <memory>1048576</memory>
</domain>
"""
    assert edited(before, [0, 1, 2]) == after


def test_a_file_without_vcpus_stays_without_while_the_count_is_sufficient() -> None:
    assert (
        edited("<domain><vcpu current='3'>4</vcpu></domain>", [0, 1]) == "<domain><vcpu current='2'>4</vcpu></domain>"
    )
    assert edited("<domain><vcpu>4</vcpu></domain>", [0]) == "<domain><vcpu current='1'>4</vcpu></domain>"


def test_a_count_is_not_added_if_it_is_redundant() -> None:
    text = "<domain><vcpu>2</vcpu></domain>"
    assert edited(text, [0, 1]) == text


def test_vcpus_after_a_gap_become_hotpluggable() -> None:
    """QEMU boots on the first ids without a gap; the others have to be plugged."""
    before = """\
<domain>
  <vcpu>3</vcpu>
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>
    <vcpu id='1' enabled='yes' hotpluggable='no' order='2'/>
    <vcpu id='2' enabled='yes' hotpluggable='no' order='3'/>
  </vcpus>
</domain>
"""
    after = """\
<domain>
  <vcpu current='2'>3</vcpu>
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>
    <vcpu id='1' enabled='no' hotpluggable='yes'/>
    <vcpu id='2' enabled='yes' hotpluggable='yes' order='3'/>
  </vcpus>
</domain>
"""
    assert edited(before, [0, 2]) == after


def test_without_hotplug_no_enabled_vcpu_stays_hotpluggable() -> None:
    before = """\
<domain>
  <vcpu current='2'>4</vcpu>
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>
    <vcpu id='1' enabled='yes' hotpluggable='yes' order='2'/>
    <vcpu id='2' enabled='no' hotpluggable='yes'/>
    <vcpu id='3' enabled='no' hotpluggable='yes'/>
  </vcpus>
</domain>
"""
    domain = read_domain(before.encode())
    layout = Layout(tuple(Entity(vcpu, (vcpu,)) for vcpu in range(4)), hotplug=False)
    after = edit_domain(before.encode(), domain, with_enabled(domain, frozenset({0, 1, 2}), layout)).decode()
    assert after == before.replace("current='2'", "current='3'").replace(
        "id='1' enabled='yes' hotpluggable='yes'", "id='1' enabled='yes' hotpluggable='no'"
    ).replace("id='2' enabled='no' hotpluggable='yes'", "id='2' enabled='yes' hotpluggable='no' order='3'")


def test_libvirts_order_is_given_to_all_that_are_enabled_or_to_none() -> None:
    """By libvirt, a domain is refused of which only some enabled vCPUs have an order."""
    ordered = """\
<domain>
  <vcpu current='2'>4</vcpu>
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>
    <vcpu id='1' enabled='no' hotpluggable='yes'/>
    <vcpu id='2' enabled='yes' hotpluggable='yes' order='2'/>
    <vcpu id='3' enabled='no' hotpluggable='yes' order='4'/>
  </vcpus>
</domain>
"""
    assert changes(ordered, [0, 1, 2, 3]) == (
        "-   <vcpu current='2'>4</vcpu>\n"
        "+   <vcpu current='4'>4</vcpu>\n"
        "-     <vcpu id='1' enabled='no' hotpluggable='yes'/>\n"
        "+     <vcpu id='1' enabled='yes' hotpluggable='yes' order='3'/>\n"
        "-     <vcpu id='3' enabled='no' hotpluggable='yes' order='4'/>\n"
        "+     <vcpu id='3' enabled='yes' hotpluggable='yes' order='4'/>"
    )
    unordered = ordered.replace(" order='1'", "").replace(" order='2'", "").replace(" order='4'", "")
    assert "order" not in edited(unordered, [0, 1, 2, 3])


def test_disabling_drops_the_order() -> None:
    before = "<vcpus><vcpu id='0' enabled='yes' order='1'/><vcpu order='2' id='1' enabled='yes'/></vcpus>"
    after = "<vcpus><vcpu id='0' enabled='yes' order='1'/><vcpu id='1' enabled='no' hotpluggable='yes'/></vcpus>"
    assert edited(f"<domain><vcpu>2</vcpu>{before}</domain>", [0]) == (
        f"<domain><vcpu current='1'>2</vcpu>{after}</domain>"
    )


def test_the_vcpus_of_a_core_share_all_attributes() -> None:
    """libvirt: vCPUs in the same hotplug group must not differ in configuration."""
    before = """\
<domain>
  <vcpu current='2'>6</vcpu>
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>
    <vcpu id='1' enabled='yes' hotpluggable='no' order='1'/>
  </vcpus>
</domain>
"""
    after = """\
<domain>
  <vcpu current='4'>6</vcpu>
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>
    <vcpu id='1' enabled='yes' hotpluggable='no' order='1'/>
    <vcpu id='4' enabled='yes' hotpluggable='yes' order='2'/>
    <vcpu id='5' enabled='yes' hotpluggable='yes' order='2'/>
  </vcpus>
</domain>
"""
    assert edited(before, [0, 1, 4, 5], entities=[(0, 1), (2, 3), (4, 5)]) == after


def test_completing_the_core_of_vcpu_0_keeps_it_not_hotpluggable() -> None:
    before = "<domain><vcpu current='1'>4</vcpu></domain>"
    assert "<vcpu id='1' enabled='yes' hotpluggable='no'/><vcpu id='2' enabled='no'" in edited(
        before, [0, 1], entities=[(0, 1), (2, 3)]
    )


class TestTheRfcsThreeLevelsOfDetail:
    def test_each_element_keeps_the_level_it_shows(self) -> None:
        assert changes(RFC_EXAMPLE, [0, 2]) == (
            "-   <vcpu current='1'>3</vcpu>\n"
            "+   <vcpu current='2'>3</vcpu>\n"
            "-     <vcpu id='2' state='disabled' cell='1' pin='1-2' scheduler='fifo:1'/>\n"
            "+     <vcpu id='2' state='enabled' cell='1' pin='1-2' scheduler='fifo:1'/>"
        )

    def test_detail_minimal_has_no_extra_data(self) -> None:
        assert changes(RFC_EXAMPLE, [0], "minimal") == (
            "-     <vcpu id='1' state='disabled' cell='1'/> <!-- option 2, just numa node,\n"
            "+     <vcpu id='1' state='disabled'/> <!-- option 2, just numa node,\n"
            "-     <vcpu id='2' state='disabled' cell='1' pin='1-2' scheduler='fifo:1'/>\n"
            "+     <vcpu id='2' state='disabled'/>"
        )

    def test_detail_numa_has_the_node(self) -> None:
        assert changes(RFC_EXAMPLE, [0], "numa") == (
            "-     <vcpu id='0' state='enabled'/> <!-- option 1, no extra data -->\n"
            "+     <vcpu id='0' state='enabled' cell='0'/> <!-- option 1, no extra data -->\n"
            "-     <vcpu id='2' state='disabled' cell='1' pin='1-2' scheduler='fifo:1'/>\n"
            "+     <vcpu id='2' state='disabled' cell='1'/>"
        )

    def test_detail_full_has_all_data(self) -> None:
        pinned = RFC_EXAMPLE.replace("<cputune>", "<cputune><vcpupin vcpu='1' cpuset='3'/>")
        assert changes(pinned, [0], "full") == (
            "-     <vcpu id='0' state='enabled'/> <!-- option 1, no extra data -->\n"
            "+     <vcpu id='0' state='enabled' cell='0'/> <!-- option 1, no extra data -->\n"
            "-     <vcpu id='1' state='disabled' cell='1'/> <!-- option 2, just numa node,\n"
            "+     <vcpu id='1' state='disabled' cell='1' pin='3'/> <!-- option 2, just numa node,"
        )

    def test_output_only_attributes_are_written_from_their_source(self) -> None:
        stale = RFC_EXAMPLE.replace(
            "state='disabled' cell='1' pin='1-2' scheduler", "cell='0' pin='7' state='disabled' scheduler"
        )
        assert "<vcpu id='2' cell='1' pin='1-2' state='enabled' scheduler='fifo:1'/>" in edited(stale, [0, 2])

    def test_detail_does_not_apply_to_libvirts_dialect(self) -> None:
        text = "<domain><vcpu>1</vcpu><vcpus><vcpu id='0' enabled='yes'/></vcpus></domain>"
        assert edited(text, [0], "full") == text


def test_an_omitted_vcpu_is_written_in_order_and_in_the_style_of_its_neighbours() -> None:
    before = """\
<domain>
\t<vcpu current="1">8</vcpu>
\t<vcpus>
\t\t<vcpu id="4" state="disabled" ></vcpu>
\t\t<vcpu id="1" state="enabled" /> <!-- the boot vCPU -->
\t</vcpus>
</domain>
"""
    after = """\
<domain>
\t<vcpu current="4">8</vcpu>
\t<vcpus>
\t\t<vcpu id="4" state="disabled" ></vcpu>
\t\t<vcpu id="5" state="enabled"/>
\t\t<vcpu id="0" state="enabled" />
\t\t<vcpu id="1" state="enabled" /> <!-- the boot vCPU -->
\t\t<vcpu id="2" state="enabled" />
\t</vcpus>
</domain>
"""
    assert edited(before, [0, 1, 2, 5]) == after


def test_a_file_on_one_line_stays_on_one_line() -> None:
    assert edited('<domain><vcpu current="1">2</vcpu><os/></domain>', [0, 1]) == (
        '<domain><vcpu current="2">2</vcpu><vcpus><vcpu id="0" enabled="yes" hotpluggable="no"/>'
        '<vcpu id="1" enabled="yes" hotpluggable="yes"/></vcpus><os/></domain>'
    )


def test_the_files_line_ends_indentation_and_quotation_marks_are_used() -> None:
    before = '<domain type="kvm">\r\n\t<vcpu>1</vcpu>\r\n\t<vcpus/>\r\n</domain>\r\n'
    assert edited(before, [0]) == before
    before = before.replace(">1<", " current='1'>2<")
    assert edited(before, [0, 1]) == (
        "<domain type=\"kvm\">\r\n\t<vcpu current='2'>2</vcpu>\r\n\t<vcpus>\r\n"
        "\t\t<vcpu id='0' enabled='yes' hotpluggable='no'/>\r\n"
        "\t\t<vcpu id='1' enabled='yes' hotpluggable='yes'/>\r\n\t</vcpus>\r\n</domain>\r\n"
    )


def test_a_wrong_count_is_corrected() -> None:
    text = "<domain><vcpu current='2'>2</vcpu><vcpus><vcpu id='0' enabled='yes'/></vcpus></domain>"
    assert edited(text, [0]) == text.replace("current='2'", "current='1'")


def test_vcpus_that_the_domain_does_not_have_are_refused() -> None:
    with pytest.raises(HotplugError, match="vCPU 2,7 is to be enabled, but the domain XML has 0-1 only") as caught:
        edited("<domain><vcpu>2</vcpu></domain>", [0, 2, 7])
    assert caught.value.code == CONFIG_INVALID


def test_a_file_never_grows_beyond_what_can_be_read() -> None:
    with pytest.raises(HotplugError, match=f"longer than {SIZE_LIMIT} bytes") as caught:
        edited("<domain>\n" + 30 * " " + "<vcpu>65536</vcpu></domain>", [0, 9])
    assert caught.value.code == CONFIG_INVALID


def test_the_largest_machines_are_edited_quickly() -> None:
    text = "<domain>\n  <vcpu current='1'>16384</vcpu>\n</domain>"
    sparse = edited(text, range(0, 16384, 2))
    assert read_domain(edited(sparse, range(16384)).encode()).hotpluggable == frozenset(range(1, 16384))


@pytest.mark.parametrize(
    ("text", "enabled"),
    [
        (f"<domain><!--{'x' * 2_000_000}--><vcpu>16384</vcpu></domain>", {0, *range(1, 16384, 2)}),
        (
            f"<domain><!--{'x' * 2_000_000}--><vcpu>16384</vcpu><vcpus><vcpu id='0' enabled='yes'/></vcpus></domain>",
            set(range(16384)),
        ),
        (
            f"<domain><vcpu>16384</vcpu><vcpus>\n{' ' * 3_000_000}<vcpu id='0' state='enabled'/></vcpus></domain>",
            set(range(16384)),
        ),
        (
            f"<domain><vcpu>16384</vcpu><vcpus><vcpu id='0' state='enabled'{' ' * 3_000_000}/></vcpus></domain>",
            set(range(16384)),
        ),
    ],
    ids=["new", "added", "indented", "closed late"],
)
def test_an_edit_takes_bounded_time_and_memory_in_any_file(text: str, enabled: set[int]) -> None:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    domain = read_domain(text.encode())
    edit_domain(text.encode(), domain, with_enabled(domain, frozenset(enabled)))
    assert time.process_time() - started < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024
