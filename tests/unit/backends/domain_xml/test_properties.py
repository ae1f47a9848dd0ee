# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""For any file and any set of vCPUs, an edit changes only what is necessary."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import contiguous
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.edit import DETAILS, edit_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.parse import read_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.transition import with_enabled
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Entity, Layout

from ...support.domains import Written, files, without_current

details = st.sampled_from([None, *DETAILS])
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
NEW_ELEMENT = re.compile(r"""(\r\n|\r|\n)?[ \t]*<vcpus>((\r\n|\r|\n)?[ \t]*<vcpu( \w+=("\w+"|'\w+'))+/>)+\s*</vcpus>""")


def edited_file(data: bytes, enabled: frozenset[int], detail: str | None = None, layout: Layout | None = None) -> bytes:
    domain = read_domain(data)
    return edit_domain(data, domain, with_enabled(domain, enabled, layout), detail)


def sets_of(data: st.DataObject, file: Written) -> frozenset[int]:
    return frozenset(data.draw(st.sets(st.integers(0, file.max_vcpus - 1), min_size=1)))


@given(files())
def test_a_written_file_parses_to_the_same_state(file: Written) -> None:
    domain = read_domain(file.data)
    assert domain.max_vcpus == file.max_vcpus
    assert domain.enabled == file.enabled
    assert domain.dialect == file.dialect


@given(files(), details, st.data())
def test_an_edited_file_has_exactly_the_requested_vcpus_and_keeps_its_dialect(
    file: Written, detail: str | None, data: st.DataObject
) -> None:
    enabled = sets_of(data, file)
    after = read_domain(edited_file(file.data, enabled, detail))
    assert after.enabled == enabled
    assert after.dialect == file.dialect or (file.dialect is None and after.dialect == "libvirt")


@given(files(), details, st.data())
def test_everything_outside_of_the_two_places_stays_byte_for_byte(
    file: Written, detail: str | None, data: st.DataObject
) -> None:
    edited = edited_file(file.data, sets_of(data, file), detail)
    text = file.text(edited)
    assert text.startswith(file.before)
    text = text[len(file.before) :]
    end = text.index("</vcpu") + file.vcpu[file.vcpu.index("</vcpu") :].index(">") + 1
    assert without_current(text[:end]) == without_current(file.vcpu)
    text = text[end:]
    if file.vcpus:
        assert text.startswith(file.between)
        assert text.endswith(file.after)
        vcpus = text[len(file.between) : len(text) - len(file.after)]
        assert re.fullmatch(r"\s*<vcpus.*</vcpus>|\s*<vcpus\s*/>", vcpus, re.DOTALL)
    else:
        rest = file.between + file.after
        assert text == rest or rest in (text[: m.start()] + text[m.end() :] for m in NEW_ELEMENT.finditer(text))


@given(files(), details, st.data())
def test_all_comments_are_preserved_in_order(file: Written, detail: str | None, data: st.DataObject) -> None:
    edited = edited_file(file.data, sets_of(data, file), detail)
    assert COMMENT.findall(file.text(edited)) == COMMENT.findall(file.text(file.data))


@given(files(), details, st.data())
def test_editing_again_changes_nothing(file: Written, detail: str | None, data: st.DataObject) -> None:
    enabled = sets_of(data, file)
    once = edited_file(file.data, enabled, detail)
    assert edited_file(once, enabled, detail) == once


@given(files())
def test_editing_to_the_same_set_at_most_corrects_the_count(file: Written) -> None:
    domain = read_domain(file.data)
    if not domain.enabled:
        return
    text = file.text(edited_file(file.data, domain.enabled))
    assert without_current(text) == without_current(file.text(file.data))


@given(files(), details, st.data())
def test_the_count_always_equals_the_number_enabled(file: Written, detail: str | None, data: st.DataObject) -> None:
    enabled = sets_of(data, file)
    text = file.text(edited_file(file.data, enabled, detail))[len(file.before) :]
    said = re.search(r"""\scurrent\s*=\s*["']([^"']+)["']""", text[: text.index("</vcpu")].partition(">")[0])
    if said is None:
        assert len(enabled) == file.max_vcpus
    else:
        assert int(re.sub(r"&#(\d+);", lambda match: chr(int(match.group(1))), said.group(1))) == len(enabled)


@given(files(), st.data())
def test_elements_of_unchanged_vcpus_stay_byte_for_byte(file: Written, data: st.DataObject) -> None:
    before = read_domain(file.data)
    enabled = sets_of(data, file)
    edited = edited_file(file.data, enabled)
    after = read_domain(edited)
    alike = before.hotpluggable & after.hotpluggable | (
        frozenset(range(file.max_vcpus)) - before.hotpluggable - after.hotpluggable
    )
    for vcpu, element in file.elements.items():
        if (vcpu in before.enabled) == (vcpu in enabled) and (file.dialect == "rfc" or vcpu in alike):
            shows_more = file.dialect == "rfc" and "cell" in element
            assert shows_more or element in file.text(edited)


@given(files(), st.data())
def test_vcpus_that_become_enabled_or_disabled_can_change_again(file: Written, data: st.DataObject) -> None:
    before = read_domain(file.data)
    after = read_domain(edited_file(file.data, sets_of(data, file)))
    if after.dialect == "libvirt":
        assert (before.enabled ^ after.enabled) - {0} <= after.hotpluggable
        fixed = after.enabled - after.hotpluggable
        if before.enabled != after.enabled:
            assert fixed == contiguous(fixed)


@given(files(), st.data())
def test_order_stays_unique_and_within_the_maximum(file: Written, data: st.DataObject) -> None:
    before = read_domain(file.data)
    after = read_domain(edited_file(file.data, sets_of(data, file)))
    assert len(set(after.order.values())) == len(after.order)
    assert all(1 <= order <= file.max_vcpus for order in after.order.values())
    stayed = before.enabled & after.enabled
    assert {vcpu: after.order.get(vcpu) for vcpu in stayed} == {vcpu: before.order.get(vcpu) for vcpu in stayed}
    assert not (before.enabled - after.enabled) & after.order.keys()
    if before.order.keys() == before.enabled and stayed:
        assert after.order.keys() == (after.enabled if before.order else set())


@given(files(), details, st.data())
def test_on_a_machine_without_hotplug_only_the_count_changes(
    file: Written, detail: str | None, data: st.DataObject
) -> None:
    fixed = Layout(tuple(Entity(vcpu, (vcpu,)) for vcpu in range(file.max_vcpus)), hotplug=False)
    enabled = frozenset(range(data.draw(st.integers(1, file.max_vcpus))))
    after = read_domain(edited_file(file.data, enabled, detail, fixed))
    assert after.enabled == enabled
    assert not after.enabled & after.hotpluggable
    assert after.dialect == file.dialect
