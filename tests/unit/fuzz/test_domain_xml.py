# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any bytes as domain XML: they are refused, or edited to exactly the desired vCPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.edit import edit_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.transition import with_enabled
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError

from ..support.domains import files
from ..support.fuzzing import HOSTILE, examples

T = TypeVar("T")

PIECES = [b"<", b">", b"'", b"&", b"&#0;", b"<!--", b"-->", b"]]>", b"<vcpus>", b"<vcpu id='1'/>", b"\0", b"\xff"]
PIECES += [text.encode("utf-8", "surrogatepass") for text in HOSTILE]


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A file of domain XML with some pieces removed, repeated, or replaced."""
    data = draw(files()).data
    for _piece in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 20)))
        new = draw(
            st.one_of(st.sampled_from(PIECES), st.binary(max_size=4), st.just(data[start:end] * 2), st.just(b""))
        )
        data = data[:start] + new + data[end:]
    return data


def refused_or(work: Callable[[], T]) -> T | None:
    """Return what the work returns, or None if it refuses the file by a proper error."""
    refusal = None
    try:
        return work()
    except HotplugError as error:
        refusal = error
    assert refusal.code == CONFIG_INVALID
    assert refusal.msg.isprintable()
    assert len(refusal.msg) < 1000
    return None


@examples("xml")
@given(spoiled(), st.data())
def test_any_bytes_are_refused_or_edited_correctly(data: bytes, more: st.DataObject) -> None:
    domain = refused_or(lambda: read_domain(data))
    if domain is None:
        return
    enabled = frozenset(more.draw(st.sets(st.integers(0, min(domain.max_vcpus, 12) - 1), min_size=1)))
    edited = refused_or(lambda: edit_domain(data, domain, with_enabled(domain, enabled)))
    if edited is None:
        return
    assert read_domain(edited).enabled == enabled
    assert edit_domain(edited, read_domain(edited), with_enabled(read_domain(edited), enabled)) == edited
