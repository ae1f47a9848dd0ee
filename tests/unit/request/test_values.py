# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any options of a task become a request, or an error with a code and a message."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import connections
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import writer_of
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.request.batch import options_of_guests
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import VCPU_SPEC
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import parse_request
from ansible_collections.kvm.hotplug.plugins.module_utils.request.values import unconvertible_option

CODES = {"conflicting_request", "unknown_vcpu", "unknown_node", "count_unreachable"}

INFINITE = float("inf")
texts = st.text(max_size=8) | st.sampled_from(["", "0-3", "+2", "1_0", "٣", "1e400", "{", '{"count": Infinity}', "a=1"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | texts
    | st.sampled_from([10**400, INFINITE, "\0", "\ud800", "enabled", "disabled"])
)
names = st.sampled_from(["id", "state", "count", "live", "config", "colour"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)


def plausible(name: str) -> st.SearchStrategy[Any]:
    """What belongs there, or nearly."""
    spec = VCPU_SPEC[name]
    if "choices" in spec:
        return st.sampled_from(spec["choices"])
    members = st.fixed_dictionaries(
        {}, optional={member: scalars | st.sampled_from(["0", "enabled"]) for member in spec.get("options", {})}
    )
    return {"list": st.lists(members, max_size=2), "dict": members, "bool": st.booleans()}.get(spec["type"], scalars)


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    found = {
        name: draw(plausible(name) if draw(st.booleans()) else values)
        for name in draw(st.sets(st.sampled_from(sorted(VCPU_SPEC)), max_size=6))
    }
    if draw(st.booleans()):
        found.setdefault(draw(st.sampled_from(["name", "qmp_socket", "domain_xml"])), "web1")
    if draw(st.booleans()):
        found.setdefault("count", draw(scalars))
    return found


def refusal(guest: Any, defaults: dict[str, Any]) -> HotplugError | None:
    """The error, None where it is a request; nothing is connected to."""

    async def made() -> None:
        async with connections() as kept:
            (found,) = options_of_guests([guest], defaults)
            if found.error is not None:
                raise found.error
            writer_of(found.params, kept, check_mode=False)
            parse_request(found.params, False)

    try:
        asyncio.run(made())
    except HotplugError as error:
        return error
    return None


@settings(max_examples=1000, deadline=None)
@given(options(), options())
def test_any_options_are_a_request_or_refused_with_a_code(guest: dict[str, Any], defaults: dict[str, Any]) -> None:
    error = refusal(guest, defaults)
    assert error is None or error.code in CODES
    assert error is None or (error.msg.isprintable() and len(error.msg) < 5000)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"count": "+2"}, "count is '+2': write a whole number, without a sign"),
        ({"count": "-2"}, "count is '-2': write a whole number, without a sign"),
        ({"count": "1_0"}, "count is '1_0'"),
        ({"count": "٣"}, "count is '٣'"),
        ({"count": "1e1"}, "count is '1e1'"),
        ({"count": True}, "count is True"),
        ({"count": INFINITE}, "count is inf"),
        ({"count": float("nan")}, "count is nan"),
        ({"count": 2.5}, "count is 2.5"),
        ({"count": 10**400}, "count is"),
        ({"nodes": [{"id": 0, "count": 1}, {"id": 1, "count": "+2"}]}, "nodes[1].count is '+2'"),
        ({"nodes": ['{"id": 0, "count": Infinity}']}, "nodes[0].count is inf"),
        ({"vcpus": [1]}, "vcpus[0] is 1: write a dictionary of id and state"),
        ({"vcpus": [None]}, "vcpus[0] is None"),
        ({"expected": 2}, "expected is 2: write a dictionary of live and config"),
        ({"max_disable": "+1"}, "max_disable is '+1'"),
        ({"timeout": 10**400}, "timeout is"),
        ({"name": "web\0"}, "name is 'web\\x00'"),
        ({"domain_xml": "\ud800"}, "domain_xml is '\\ud800'"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_a_value_that_would_be_converted_wrongly_is_named(given: dict[str, Any], words: str) -> None:
    found = unconvertible_option(given, VCPU_SPEC)
    assert found is not None
    assert found[0] in given
    assert words in found[1]


@pytest.mark.parametrize("count", [2, "2", " 2 ", 2.0, "002", -3])
def test_an_integer_is_accepted_in_any_notation(count: object) -> None:
    assert unconvertible_option({"count": count}, VCPU_SPEC) is None
