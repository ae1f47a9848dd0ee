# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules return only printable text, whatever a guest, its machine or its files are called."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable
from xml.sax.saxutils import escape, quoteattr

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, printable
from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestFacts

from ..support.faulty_peers import says_nothing
from ..support.modules import RunModule
from ..support.peer import Peer
from ..support.scripted_qemu import Imitation

StartPeer = Callable[..., Peer]

# A C1 control, text that runs the other way, separators of lines and paragraphs, invisible characters, half a pair.
HOSTILE = "\x9b31m\u202e\u2066\u2028\u2029\u200b\ufeff\u00ad\ue000\ud800"
# Those that XML may have.
IN_XML = HOSTILE.replace("\ud800", "")


def texts(value: Any) -> Iterator[str]:
    """All texts of a result but those that are the task's own options."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, member in value.items():
            if key != "invocation":
                yield key
                yield from texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from texts(member)


def check(result: dict[str, Any]) -> None:
    assert [text for text in texts(result) if not text.replace("\n", "").isprintable()] == []


@pytest.fixture(params=["name", "uuid", "arch", "machine"])
def domain_xml(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A file of domain XML in which one thing has a hostile text."""
    has = {"name": "web1", "uuid": "4c1f4a7e-3f0e-4c8e-9a93-0a6d1e7d3b11", "arch": "x86_64", "machine": "q35"}
    has[request.param] += IN_XML
    file = tmp_path / f"web1{IN_XML}.xml"
    file.write_text(
        f"<domain type='kvm'><name>{escape(has['name'])}</name><uuid>{escape(has['uuid'])}</uuid>"
        "<memory unit='MiB'>256</memory><vcpu current='2'>8</vcpu>"
        f"<os><type arch={quoteattr(has['arch'])} machine={quoteattr(has['machine'])}>hvm</type></os></domain>"
    )
    return str(file)


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_texts_of_a_domain_are_safe_to_print(run: RunModule, domain_xml: str, check_mode: bool) -> None:
    check(run("vcpu_info", domain_xml=domain_xml, probe="never"))
    check(run("vcpu", check=check_mode, domain_xml=domain_xml, probe="never", count=3))
    check(run("vcpu_batch", check=check_mode, guests=[{"domain_xml": domain_xml, "probe": "never", "count": 3}]))
    check(run("vcpu", domain_xml=domain_xml + "x", probe="never", count=3))


@pytest.mark.parametrize(
    ("question", "reply"),
    [
        ("query-name", {"name": HOSTILE}),
        ("query-uuid", {"UUID": HOSTILE}),
        ("query-target", {"arch": HOSTILE}),
        ("query-status", {"status": HOSTILE}),
    ],
)
def test_the_texts_of_a_monitor_are_safe_to_print(
    peer: StartPeer, run: RunModule, question: str, reply: dict[str, str]
) -> None:
    qemu = peer(Imitation(answers={question: {"return": reply}}))
    check(run("vcpu_info", qmp_socket=qemu.address))
    check(run("vcpu", qmp_socket=qemu.address, count=3))


def test_a_path_in_an_error_is_safe_to_print(run: RunModule, tmp_path: Path) -> None:
    for option in ("qmp_socket", "agent_socket", "domain_xml"):
        check(run("vcpu", **{option: str(tmp_path / IN_XML)}, count=3))
        check(run("vcpu_batch", guests=[{option: str(tmp_path / IN_XML), "count": 3}]))
        check(run("vcpu_info", **{option: str(tmp_path / IN_XML)}))
    with Peer(says_nothing, path=tmp_path / f"{IN_XML}.sock") as busy:
        check(run("vcpu", qmp_socket=busy.address, count=3, timeout=0.2))
        check(run("vcpu", agent_socket=busy.address, count=3, timeout=0.2, method="agent"))


def test_facts_and_errors_from_any_source_are_safe_to_print() -> None:
    assert all(fact is None or fact.isprintable() for fact in GuestFacts(*[HOSTILE] * 5))
    assert GuestFacts("web1", None, "running") == ("web1", None, "running", None, None)
    assert HotplugError("internal", f"not {HOSTILE}").msg.isprintable()


@pytest.mark.parametrize("char", [*HOSTILE.replace("31m", ""), *"\0\t\r\x1b\x7f\x85\u200e\u061c\U000e0041\uffff\u0378"])
def test_a_character_that_is_not_printable_becomes_a_space(char: str) -> None:
    assert printable(f"a{char}b") == "a b"


@pytest.mark.parametrize(
    "options", [{HOSTILE: 1}, {"placement": HOSTILE}, {"count": HOSTILE}, {"vcpus": [{"id": "1", HOSTILE: 2}]}]
)
def test_options_that_the_argument_spec_refuses_are_safe_to_print(
    run: RunModule, tmp_path: Path, options: dict[str, Any]
) -> None:
    result = run("vcpu", domain_xml=str(tmp_path / "web1.xml"), **options)
    assert result["error_code"] == "conflicting_request"
    check(result)
