# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pages about audits and rollouts: their markup, what they escape, what they load. tests/browser opens them."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest
from lxml import html

from ansible_collections.kvm.hotplug.plugins.plugin_utils.page.render import audit_page, rollout_page

from ..support.reports import HOSTILE_NAMES, audited, rolled_out

CORES = [
    {"node": 0, "socket": 0, "core": 0, "vcpus": "0-1"},
    {"node": 0, "socket": 0, "core": 1, "vcpus": "2-3"},
    {"node": 1, "socket": 1, "core": 0, "vcpus": "4-5"},
]


def page(*guests: dict[str, Any], failures: tuple[dict[str, Any], ...] = ()) -> html.HtmlElement:
    return html.document_fromstring(audit_page({"guests": list(guests), "failures": list(failures)}))


def text(element: html.HtmlElement) -> str:
    return " ".join(element.text_content().split())


def cells(document: html.HtmlElement, title: str) -> list[str]:
    return [text(cell) for cell in document.xpath("//td[@data-title=$title]", title=title)]


def vcpus(document: html.HtmlElement) -> list[str]:
    return [text(vcpu) for vcpu in document.xpath("//li")]


def test_a_guest_has_its_state_headroom_and_drift_in_a_row() -> None:
    document = page(audited("web1", live="0-2", config="0-3", headroom={"live": 3, "config": 2}, drifts="config: 3"))
    row = {title: cells(document, title) for title in ("Hypervisor", "State", "Live", "Config", "Headroom", "Drift")}
    assert row == {
        "Hypervisor": ["h1"],
        "State": ["running"],
        "Live": ["0-2 (3)"],
        "Config": ["0-3 (4)"],
        "Headroom": ["live 3, config 2"],
        "Drift": ["config: 3"],
    }


def test_a_guest_is_drawn_as_its_nodes_sockets_and_cores() -> None:
    document = page(audited("web1", cores=CORES, live="0-2", config="0-1,4", online="0-1"))
    titles = [text(title) for title in document.xpath("//*[@class='title']")]
    assert titles == ["node 0", "socket 0", "core 0", "core 1", "node 1", "socket 1", "core 0"]
    assert vcpus(document) == [
        "● 0: enabled",
        "● 1: enabled",
        "◐ 2: enabled until the next boot",
        "○ 3: disabled",
        "◑ 4: enabled from the next boot on",
        "○ 5: disabled",
    ]


def test_a_vcpu_has_marks_for_its_desired_state_its_drift_and_its_use() -> None:
    planned = {"live": "0,2-3", "config": None, "online": None}
    drift = {"libvirt": "1", "placement": "0"}
    document = page(audited("web1", cores=CORES[:2], live="0-2", online="0-1", planned=planned, drift=drift))
    shown = [vcpu.split(":")[0] for vcpu in vcpus(document)]
    assert shown == ["● 0!", "● 1-!", "◌ 2", "○ 3+"]
    legend = document.xpath("//dl[@class='legend']//dt/text()")
    assert legend == ["●", "○", "◌", "+", "-", "!"]


def test_a_guest_without_nodes_and_cores_is_drawn_without_titles() -> None:
    document = page(audited("web1", cores=[{"vcpus": "0"}, {"vcpus": "1"}], live="0"))
    assert vcpus(document) == ["● 0: enabled", "○ 1: disabled"]
    assert document.xpath("//*[@class='title']") == []


def test_a_guest_that_could_not_be_inspected_is_shown_with_the_reason() -> None:
    document = page(audited("web1", cores=[], live=None, headroom={}, error_code="monitor_busy", msg="why"))
    assert "The vCPUs of this guest are unknown." in text(document)
    assert (cells(document, "Live"), cells(document, "Headroom")) == (["-"], ["-"])
    assert document.xpath("//dl[@class='facts']//dt[.='Message']/following-sibling::dd/bdi/text()") == ["why"]


def test_places_that_could_not_be_inspected_have_a_table() -> None:
    failure = {"hypervisor": "h2", "place": "qemu:///system", "error_code": "backend_missing", "msg": "no lxml"}
    document = page(failures=(failure,))
    assert cells(document, "Place") == ["qemu:///system"]
    assert cells(document, "Message") == ["no lxml"]


@pytest.mark.parametrize(
    ("phase", "title"),
    [("plan", "Plan of rollout may"), ("outcome", "Outcome of rollout may"), ("revert", "Revert of rollout may")],
)
def test_a_rollout_has_the_steps_and_the_result_of_each_guest(phase: str, title: str) -> None:
    report = {"rollout": "may", "phase": phase, "guests": [rolled_out("web1")], "reverted": [rolled_out("web2")]}
    document = html.document_fromstring(rollout_page(report))
    assert document.xpath("//title/text()") == [title]
    assert cells(document, "Steps") == ["plug 2"] * 2
    assert cells(document, "Result") == ["changed"] * 2
    assert [text(heading) for heading in document.xpath("//h2")][:2] == ["Guests", "Reverted guests"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_adds_no_element_and_no_attribute(name: str) -> None:
    fine, hostile = (
        page(
            audited(one, hypervisor=one, state=one, uuid=one, machine=one, arch=one, msg=one, drifts=one, cores=CORES),
            failures=({"hypervisor": one, "place": one, "error_code": one, "msg": one},),
        )
        for one in ("name", name)
    )
    assert markup_of(hostile) == markup_of(fine)


def test_names_are_bounded_and_without_control_and_format_characters() -> None:
    document = page(audited("x" * 10_000), audited("a\u202ebc\u0000d\u2028e"))
    long, odd = (text(name) for name in document.xpath("//tr/th[@scope='row']"))
    assert (len(long), long[-3:]) == (120, "...")
    assert odd == "a bc d e"


def test_messages_are_bounded() -> None:
    assert len(audit_page({"guests": [audited("a", msg="x" * 100_000)], "failures": []})) < 30_000


def test_the_policy_allows_only_the_style_and_the_script_of_the_page() -> None:
    document = page(audited("web1"))
    (policy,) = document.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    (style,), (script,) = document.xpath("//style/text()"), document.xpath("//script/text()")
    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["style-src"] == f"'{hash_of(style)}'"
    assert directives["script-src"] == f"'{hash_of(script)}'"


def test_nothing_is_loaded_from_elsewhere() -> None:
    document = page(audited("web1", cores=CORES))
    assert document.xpath("//@src | //@href | //@srcset | //@action | //@style") == []
    assert document.xpath("//@*[starts-with(name(), 'on')]") == []
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", audit_page(EMPTY))


def test_the_same_report_is_the_same_page() -> None:
    report = {"guests": [audited("web1", cores=CORES)], "failures": []}
    assert audit_page(report) == audit_page(report)


def test_every_control_has_a_label_and_every_table_a_name() -> None:
    document = page(audited("web1", cores=CORES))
    assert all(control.xpath("ancestor::label") for control in document.xpath("//input | //select"))
    headings = set(document.xpath("//h2/@id"))
    assert {table.get("aria-labelledby") for table in document.xpath("//table")} <= headings
    assert {header.get("scope") for header in document.xpath("//th")} == {"col", "row"}


EMPTY: dict[str, Any] = {"guests": [], "failures": []}


def markup_of(document: html.HtmlElement) -> list[tuple[str, list[str]]]:
    """Return the elements and the names of their attributes, without the values that guests choose."""
    return [(element.tag, sorted(element.keys())) for element in document.iter(tag=html.etree.Element)]


def hash_of(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
