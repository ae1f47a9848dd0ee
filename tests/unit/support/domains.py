# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Domain XML for tests: the RFC's own example, and any file that people or tools could have written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.resolve import BootLayout, lay_out
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain

RFC_EXAMPLE = """\
<domain>
  <vcpu current='1'>3</vcpu>
  <vcpus>
    <vcpu id='0' state='enabled'/> <!-- option 1, no extra data -->
    <vcpu id='1' state='disabled' cell='1'/> <!-- option 2, just numa node,
                                                  since it's non-obvious -->
    <vcpu id='2' state='disabled' cell='1' pin='1-2' scheduler='fifo:1'/>
     <!-- option 3 all the data duplicated -->
  </vcpus>
  <cputune>
    <vcpupin vcpu='2' cpuset='1-2'/>
    <vcpusched vcpus='2' scheduler='fifo' priority='1'/>
  </cputune>
  <cpu>
    <numa>
      <cell id='0' cpus='0' memory='102400' unit='KiB'/>
      <cell id='1' cpus='1-2' memory='102400' unit='KiB'/>
    </numa>
  </cpu>
</domain>
"""


async def derive_boot(domain: Domain) -> BootLayout:
    """Return the machine of the next boot, without a QEMU to ask."""
    return await lay_out(domain, "never", None, 1.0)


# None of these says anything about the guest's vCPUs.
NOISE = (
    "<title/>",
    "<!-- <vcpu current='9'>9</vcpu> -->",
    "<!--> ' \" --><!---->",
    "<description><![CDATA[<vcpus><vcpu id='0' state='no'/></vcpus>]]> &amp; &lt;vcpu/&gt; &#62;</description>",
    "<metadata><vcpu current='9'>x</vcpu><vcpus><vcpu id='7'/></vcpus></metadata>",
    "<q:commandline xmlns:q='urn:q'><q:vcpu current='0'/><vcpus/></q:commandline>",
    "<vcpu xmlns='urn:other' current='9'>9</vcpu>",
    "<o:vcpus xmlns:o='urn:other'><vcpu id='0' enabled='maybe'/></o:vcpus>",
    "<?vcpu current='9'?>",
    "<title a='x>y' b=\"it's\"\n c = '/>'>Gr\xfc\xdfe</title>",
    "<iothreads>4</iothreads><iothreadids><iothread id='2'/></iothreadids>",
    "stray text",
    "",
)

_QUOTES = st.sampled_from("'\"")
_LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
_ENCODINGS = {
    "UTF-8": ("utf-8", b""),
    "utf8": ("utf-8", b"\xef\xbb\xbf"),
    "UTF-16": ("utf-16-le", b"\xff\xfe"),
    "utf-16": ("utf-16-be", b"\xfe\xff"),
    "ISO-8859-1": ("latin-1", b""),
    "windows-1252": ("cp1252", b""),
}


@dataclass(frozen=True)
class Written:
    """A file, and the pieces it is made of; ``vcpus`` is empty where it has no such element."""

    data: bytes
    codec: str
    bom: bytes
    before: str
    vcpu: str
    between: str
    vcpus: str
    after: str
    dialect: str | None
    enabled: frozenset[int]
    max_vcpus: int
    elements: dict[int, str]

    def text(self, data: bytes) -> str:
        """Decode what this file has become."""
        assert data.startswith(self.bom)
        return data[len(self.bom) :].decode(self.codec)


def without_current(vcpu: str) -> str:
    """Return a <vcpu> element without the attribute that may change."""
    return re.sub(r"""\scurrent\s*=\s*("[^"]*"|'[^']*')""", "", vcpu)


@st.composite
def files(draw: st.DrawFn, most: int = 8) -> Written:
    """Any file of domain XML, in any encoding and style."""
    max_vcpus = draw(st.integers(1, most))
    line_end, indent = draw(_LINE_ENDS), draw(st.sampled_from(["  ", "\t", "", None]))
    step = "" if indent is None else line_end + indent

    def noise() -> str:
        return "".join(step + piece for piece in draw(st.lists(st.sampled_from(NOISE), max_size=3)))

    declared = draw(st.sampled_from([None, *_ENCODINGS]))
    codec, bom = _ENCODINGS["UTF-8" if declared is None else declared]
    quote = draw(_QUOTES)
    head = "" if declared is None else f"<?xml version='1.0' encoding={quote}{declared}{quote} ?>{line_end}"
    root = draw(st.sampled_from(["<domain>", "<domain type='kvm' >", '<domain xmlns:q="urn:q"\n\tq:a="1">']))
    current = draw(st.one_of(st.none(), st.integers(1, max_vcpus)))
    vcpu = step + draw(_vcpu_elements(max_vcpus, current))
    dialect, vcpus, enabled, elements = draw(_vcpus_elements(max_vcpus, current or max_vcpus, step, indent or ""))
    before, between, after = head + root + noise(), noise(), noise() + (line_end if indent else "") + "</domain>"
    text = before + vcpu + between + vcpus + after
    return Written(
        bom + text.encode(codec),
        codec,
        bom,
        before,
        vcpu,
        between,
        vcpus,
        after,
        dialect,
        enabled,
        max_vcpus,
        elements,
    )


@st.composite
def _vcpu_elements(draw: st.DrawFn, max_vcpus: int, current: int | None) -> str:
    quote, gap = draw(_QUOTES), draw(st.sampled_from([" ", "\n\t"]))
    attributes = draw(st.permutations([f"placement={quote}static{quote}", "xmlns:x='urn:x'", "x:current='99'"]))
    if current is not None:
        place = draw(st.integers(0, len(attributes)))
        said = draw(st.sampled_from([str(current), f" 0{current} ", f"&#{ord(str(current))};"]))
        attributes.insert(place, f"current{draw(st.sampled_from(['=', ' = ']))}{quote}{said}{quote}")
    inside = draw(st.sampled_from([f"{max_vcpus}", f" {max_vcpus}\n", f"<!-- current='1' -->{max_vcpus}<!---->"]))
    return f"<vcpu{gap}{gap.join(attributes)}{draw(st.sampled_from(['', ' ']))}>{inside}</vcpu{gap}>"


@st.composite
def _vcpus_elements(
    draw: st.DrawFn, max_vcpus: int, current: int, step: str, indent: str
) -> tuple[str | None, str, frozenset[int], dict[int, str]]:
    first = frozenset(range(current))
    kind = draw(st.sampled_from([None, "empty", "libvirt", "rfc"]))
    if kind is None:
        return None, "", first, {}
    if kind == "empty":
        return None, step + draw(st.sampled_from(["<vcpus/>", "<vcpus\n/>", "<vcpus></vcpus>"])), first, {}
    named = draw(st.lists(st.integers(0, max_vcpus - 1), min_size=1, max_size=max_vcpus, unique=True))
    enabled = frozenset(draw(st.sets(st.sampled_from(named))))
    orders = draw(st.permutations(range(1, max_vcpus + 1))) if draw(st.booleans()) else None
    elements: dict[int, str] = {}
    parts: list[str] = []
    for number, vcpu in enumerate(named):
        attributes = draw(_rfc(vcpu in enabled) if kind == "rfc" else _libvirt(vcpu in enabled))
        if orders is not None and kind == "libvirt" and vcpu in enabled:
            attributes.append(f"order='{orders[number]}'")
        attributes.insert(draw(st.integers(0, len(attributes))), f"id={draw(st.sampled_from(['%d', ' 0%d']))!r}" % vcpu)
        closing = draw(st.sampled_from(["/>", " />", "></vcpu>", "><!-- / --></vcpu >"]))
        elements[vcpu] = f"<vcpu {'  '.join(attributes)}{closing}"
        comment = draw(st.sampled_from(["", " <!-- id='1' -->", "<!--\n-->", "<!-- <vcpu id='0'/> -->", "<other/>"]))
        parts.append(step + indent + elements[vcpu] + comment)
    return kind, f"{step}<vcpus>{''.join(parts)}{step}</vcpus>", enabled, elements


@st.composite
def _libvirt(draw: st.DrawFn, is_enabled: bool) -> list[str]:
    said = draw(st.sampled_from(["enabled='%s'", 'enabled="%s"', "enabled='&#%d;%s'"]))
    word = "yes" if is_enabled else "no"
    attributes = [said % (ord(word[0]), word[1:]) if "#" in said else said % word]
    hotpluggable = draw(st.sampled_from([None, "yes", "no"]))
    if hotpluggable is not None:
        attributes.insert(draw(st.integers(0, 1)), f"hotpluggable='{hotpluggable}'")
    return attributes


@st.composite
def _rfc(draw: st.DrawFn, is_enabled: bool) -> list[str]:
    output_only = draw(st.sampled_from([[], ["cell='7'"], ["cell='0'", 'pin="all"', "scheduler='&lt;?&gt;'"]]))
    return draw(st.permutations([f'state="{"enabled" if is_enabled else "disabled"}"', *output_only]))
