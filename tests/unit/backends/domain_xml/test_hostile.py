# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Invalid and hostile XML: refused with the line, in bounded memory and time."""

from __future__ import annotations

import codecs
import resource
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.encoding import SIZE_LIMIT
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError

from .test_parse import LIBVIRT_DUMP


def refused(data: bytes) -> str:
    with pytest.raises(HotplugError) as caught:
        read_domain(data)
    assert caught.value.code == CONFIG_INVALID
    assert len(caught.value.msg) < 500
    assert caught.value.msg.isprintable()
    return caught.value.msg


LAUGHS = b"""\
<?xml version='1.0'?>
<!DOCTYPE lolz [
  <!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">
]>
<domain><name>&c;</name><vcpu>1</vcpu></domain>
"""


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (LAUGHS, 2, "document type"),
        (b"<!DOCTYPE domain SYSTEM 'http://127.0.0.1:9/x.dtd'>\n<domain><vcpu>1</vcpu></domain>", 1, "document type"),
        (
            b"\n<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain><name>&x;</name></domain>",
            2,
            "document type",
        ),
        (b"\n\n<!DOCTYPE domain>\n<domain><vcpu>1</vcpu></domain>", 3, "document type"),
        (b"<domain>\n<name>&x;</name></domain>", 2, "undefined entity"),
        (b"<domain>\n<vcpu>1</vcpu>\n", 3, "no element found"),
        (b"<domain>\n<vcpu>1</vcpux></domain>", 2, "mismatched tag"),
        (b"<domain>\n<vcpu current='1' current='2'>3</vcpu></domain>", 2, "duplicate attribute"),
        (b"<domain>\n<x:vcpu>3</x:vcpu></domain>", 2, "unbound prefix"),
        (b"<domain><vcpu>1</vcpu></domain>\n<domain/>", 2, "junk after"),
        (b"<domain>\n<vcpu>1\0</vcpu></domain>", 2, "not well-formed"),
        (b"<domain>\n<vcpu>&#0;</vcpu></domain>", 2, "invalid character number"),
        (b"<domain>\n<vcpu current=1>1</vcpu></domain>", 2, "not well-formed"),
        (b"<domain>\n" + b"<a>" * 300 + b"</a>" * 300 + b"</domain>", 2, "more than 200 nested elements"),
        (b"<domain>\n" + b"<a>" * 1_000_000, 2, "more than 200 nested elements"),
        (b"<domain>\n" + b"<a/>" * 300_000 + b"</domain>", 2, "more than 200000 elements"),
        (
            b"<domain>\n<a " + b" ".join(b"a%d=''" % n for n in range(300)) + b"/></domain>",
            2,
            "more than 200 attributes",
        ),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else str(value),
)
def test_xml_that_could_harm_a_parser_is_refused_with_its_line(data: bytes, line: int, words: str) -> None:
    message = refused(data)
    assert message.startswith(f"line {line} of the domain XML: ")
    assert words in message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "line 1 of the domain XML: it is empty"),
        (b" \r\n\t", "line 1 of the domain XML: it is empty"),
        (b"\0" * 100, "not well-formed"),
        (b"\xef\xbb\xbf", "no element found"),
        (b"<domain>" + b" " * SIZE_LIMIT, "longer than 4194304 bytes"),
        (b"not xml", "line 1 of the domain XML: it is not well-formed"),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "not well-formed"),
        (b"\x1f\x8b\x08" + bytes(range(256)), "line 1 of the domain XML: it has bytes that are not utf-8"),
        (b"<domain>\n<name>\xe9</name>", "line 2 of the domain XML: it has bytes that are not utf-8"),
        (b"<domain>\n\n<name>\xed\xa0\x80</name>", "line 3 of the domain XML: it has bytes that are not utf-8"),
        (b"<?xml version='1.0' encoding='ascii'?>\n<domain a='\xc3\xa9'/>", "line 2 of the domain XML: it has bytes"),
        ("<domain>\n".encode("utf-16") + b"\x00\xd8<\0", "line 2 of the domain XML: it has bytes that are not utf-16"),
        (
            b"<?xml version='1.0' encoding='UTF-16'?><domain/>",
            "declares the encoding UTF-16, but is encoded differently",
        ),
        (
            "<?xml version='1.0' encoding='UTF-8'?><domain/>".encode("utf-16"),
            "declares the encoding UTF-8, but is encoded differently",
        ),
        (
            b"\xef\xbb\xbf<?xml version='1.0' encoding='latin1'?><domain/>",
            "declares the encoding latin1, but is encoded differently",
        ),
        ("<domain/>".encode("utf-32"), "UTF-32"),
        (b"<?xml version='1.0' encoding='utf-7'?><domain/>", "encoding 'utf-7' is not supported"),
        (b"<?xml version='1.0' encoding='rot13'?><domain/>", "encoding 'rot13' is not supported"),
        (b"<?xml version='1.0' encoding='EBCDIC-CP-BE'?><domain/>", "is not supported"),
        (b"<?xml version='1.0' encoding='../../x'?><domain/>", "is not supported"),
        (b"<?xml version='1.0' encoding=''?><domain/>", "is not supported"),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_bytes_that_are_no_text_are_refused(data: bytes, words: str) -> None:
    assert words in refused(data)


ONE = "<vcpu>1</vcpu>"


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("\n<vcpu/>", "line 2 of the domain XML: in <vcpu>, the number in <vcpu> is missing"),
        ("<vcpu>many</vcpu>", "the number in <vcpu> is 'many': write a number from 1 to 65536"),
        ("<vcpu>0</vcpu>", "'0'"),
        ("<vcpu>-1</vcpu>", "'-1'"),
        ("<vcpu>+1</vcpu>", "'+1'"),
        ("<vcpu>1.0</vcpu>", "'1.0'"),
        ("<vcpu>0x4</vcpu>", "'0x4'"),
        ("<vcpu>1e1</vcpu>", "'1e1'"),
        ("<vcpu>1_0</vcpu>", "'1_0'"),
        ("<vcpu>\N{ARABIC-INDIC DIGIT THREE}</vcpu>", "write a number"),
        ("<vcpu>65537</vcpu>", "'65537'"),
        ("<vcpu>4294967297</vcpu>", "'4294967297'"),
        (f"<vcpu>{'9' * 100_000}</vcpu>", "write a number from 1 to 65536"),
        ("<vcpu current='0'>2</vcpu>", "current is '0': write a number from 1 to 2"),
        ("<vcpu current='3'>2</vcpu>", "current is '3': write a number from 1 to 2"),
        ("<vcpu current=''>2</vcpu>", "current is missing"),
        ("<vcpu current='-1'>2</vcpu>", "current is '-1'"),
        (ONE + "\n" + ONE, "line 2 of the domain XML: in <vcpu>, there is a second <vcpu>, after line 1"),
        (ONE + "<vcpus/>\n<vcpus/>", "line 2 of the domain XML: in <vcpus>, there is a second <vcpus>"),
        (ONE + "<cpu/>\n<cpu/>", "a second <cpu>"),
        (ONE + "<os/>\n<os/>", "a second <os>"),
        (ONE + "<os><type/><type/></os>", "a second <type>"),
        (ONE + "<cpu><topology/><topology/></cpu>", "a second <topology>"),
        (ONE + "<cpu><numa/><numa/></cpu>", "a second <numa>"),
        (ONE + "<cputune/><cputune/>", "a second <cputune>"),
        (ONE + "<vcpus>\n<vcpu enabled='yes'/></vcpus>", "line 2 of the domain XML: in <vcpu>, id is missing"),
        (ONE + "<vcpus><vcpu id='1' enabled='yes'/></vcpus>", "id is '1': write a number from 0 to 0"),
        (ONE + "<vcpus><vcpu id='-1' enabled='yes'/></vcpus>", "id is '-1'"),
        (
            "<vcpu>2</vcpu><vcpus><vcpu id='0' enabled='yes'/>\n<vcpu id='00' enabled='no'/></vcpus>",
            "line 2 of the domain XML: in <vcpu>, vCPU 0 occurs a second time, after line 1",
        ),
        (ONE + "<vcpus><vcpu id='0'/></vcpus>", "it lacks the vCPU's state"),
        (ONE + "<vcpus><vcpu id='0' hotpluggable='yes'/></vcpus>", "it lacks the vCPU's state"),
        (ONE + "<vcpus><vcpu id='0' cell='0'/></vcpus>", "it lacks the vCPU's state"),
        (ONE + "<vcpus><vcpu id='0' enabled='true'/></vcpus>", "enabled is 'true': write yes or no"),
        (ONE + "<vcpus><vcpu id='0' state='yes'/></vcpus>", "state is 'yes': write enabled or disabled"),
        (ONE + "<vcpus><vcpu id='0' enabled='yes' hotpluggable='1'/></vcpus>", "hotpluggable is '1'"),
        (ONE + "<vcpus><vcpu id='0' enabled='yes' order='-1'/></vcpus>", "order is '-1'"),
        (ONE + "<vcpus><vcpu id='0' enabled='yes' order='99999999999'/></vcpus>", "order is '99999999999'"),
        (ONE + "<vcpus><vcpu id='0' enabled='yes' state='enabled'/></vcpus>", "mixes the RFC's attributes"),
        (ONE + "<vcpus><vcpu id='0' enabled='yes' cell='0'/></vcpus>", "mixes the RFC's attributes"),
        (
            "<vcpu>2</vcpu><vcpus><vcpu id='0' enabled='yes'/>\n<vcpu id='1' state='enabled'/></vcpus>",
            "line 2 of the domain XML: in <vcpu>, <vcpus> mixes",
        ),
        (ONE + "<cpu><topology sockets='1' cores='1'/></cpu>", "threads is missing"),
        (ONE + "<cpu><topology sockets='1' cores='0' threads='1'/></cpu>", "cores is '0'"),
        (ONE + "<cpu><numa><cell id='0'/></numa></cpu>", "memory is missing"),
        (ONE + "<cpu><numa><cell id='0' memory='1' unit='sacks'/></numa></cpu>", "unit of memory 'sacks'"),
        (ONE + "<cpu><numa><cell id='0' memory='-1'/></numa></cpu>", "memory is '-1'"),
        (ONE + f"<memory unit='TiB'>{2**63}</memory>", "the number in <memory>"),
        (
            ONE + "<cpu><numa><cell memory='1'/>\n<cell id='0' memory='1'/></numa></cpu>",
            "line 2 of the domain XML: in <cell>",
        ),
        (ONE + "<cpu><numa><cell memory='1' cpus='0-'/></numa></cpu>", "cpus: '0-' is not a list of ids"),
        (ONE + "<cpu><numa><cell memory='1' cpus='0-9999999999'/></numa></cpu>", "above 65535"),
        (ONE + "<cputune><vcpupin vcpu='0'/></cputune>", "cpuset is missing"),
        (ONE + "<cputune><quota>999</quota></cputune>", "the number in <quota> is 999"),
        (ONE + "<cputune><quota>x</quota></cputune>", "the number in <quota> is 'x'"),
        (ONE + "<cputune><quota>1000</quota><period>999</period></cputune>", "the number in <period> is 999"),
        (ONE + "<cputune><quota>1000</quota><period>1000001</period></cputune>", "the number in <period> is '1000001'"),
        (ONE + "<numatune><memnode cellid='0'/></numatune>", "nodeset is missing"),
        (ONE + "<cputune><vcpupin vcpu='x' cpuset='0'/></cputune>", "vcpu is 'x'"),
        (
            ONE + "<cputune><vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='0' cpuset='1'/></cputune>",
            "pinned a second time",
        ),
        (ONE + "<cputune><vcpusched vcpus='0' scheduler='fast'/></cputune>", "the scheduler 'fast' is unknown"),
        (ONE + "<cputune><vcpusched vcpus='0' scheduler='fifo'/></cputune>", "priority is missing"),
        (
            ONE
            + "<cputune><vcpusched vcpus='0' scheduler='idle'/><vcpusched vcpus='0-3' scheduler='batch'/></cputune>",
            "vCPU 0 has a <vcpusched> already",
        ),
    ],
    ids=lambda value: value[:60],
)
def test_invalid_values_are_refused_with_their_line_and_the_remedy(inside: str, words: str) -> None:
    assert words in refused(f"<domain>{inside}</domain>".encode())


@pytest.mark.parametrize("root", ["<network/>", "<domain xmlns='urn:x'/>", "<Domain/>", "<d:domain xmlns:d='urn:d'/>"])
def test_another_kind_of_file_is_refused(root: str) -> None:
    assert "the outermost element is not <domain>" in refused(root.encode())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("<domain/>".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("<domain/>".encode("utf-16-be"), "UTF-16 without a byte order mark"),
        (codecs.BOM_UTF8 * 2 + b"<domain/>", "a second byte order mark"),
        (codecs.BOM_UTF16_BE * 2 + "<domain/>".encode("utf-16-be"), "a second byte order mark"),
        (b"<?xml version='1.0' encoding='UTF_8'?><domain/>", "its encoding 'UTF_8' is not supported"),
    ],
)
def test_encodings_that_lxml_cannot_decode_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(data)
    assert words in refused(data)


def test_untrusted_text_cannot_break_the_line() -> None:
    assert "\n" not in refused("<domain><vcpu>a\nb\x85\N{RIGHT-TO-LEFT OVERRIDE}</vcpu></domain>".encode())


def test_lines_are_counted_with_any_line_end() -> None:
    assert refused(b"<domain>\r\n<vcpu>1</vcpu>\r\n<vcpu>1</vcpu></domain>").startswith("line 3 ")
    assert refused(("<domain>\n" * 3).encode("utf-16")).startswith("line 4 ")


@pytest.mark.parametrize(
    "data",
    [
        b"<domain>" + b"<a/>" * 190_000 + b"<vcpu/></domain>",
        b"<domain a='" + b"x" * 4_000_000 + b"'><vcpu/></domain>",
        b"<domain " + b" ".join(b"a%d=''" % n for n in range(350_000)) + b"/>",
        b"<domain><!--" + b"-" * 4_000_000,
        b"<domain>" + b"<!---->" * 590_000 + b"<vcpu/></domain>",
        b"<domain>" + b"&#65;" * 800_000 + b"<vcpu/></domain>",
        b"<domain><vcpu>65536</vcpu><vcpus>"
        + b"".join(b"<vcpu id='%d' enabled='no'/>" % n for n in range(65_536))
        + b"</vcpus><x></domain>",
        b"<domain xmlns='" + b"u" * 3_000 + b"'>" + b"<a xmlns='v'/>" * 150_000 + b"</domain>",
    ],
    ids=["elements", "value", "attributes", "comment", "comments", "references", "vcpus", "namespaces"],
)
def test_refusing_takes_bounded_time_and_memory(data: bytes) -> None:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    refused(data)
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024


@given(st.integers(0, len(LIBVIRT_DUMP) - 1), st.binary(min_size=0, max_size=4), st.integers(0, 40))
def test_any_damaged_file_is_parsed_or_refused(start: int, put: bytes, removed: int) -> None:
    data = LIBVIRT_DUMP[:start] + put + LIBVIRT_DUMP[start + removed :]
    try:
        read_domain(data)
    except HotplugError:
        refused(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    refused(data)
