# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parsing and quoting a peer's messages, in bounded time."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.messages import (
    DEEPEST,
    message_reader,
    read_object,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import printable

from ...support.faulty_peers import EXPENSIVE, nested

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), values), st.booleans())
def test_messages_are_parsed_like_by_json(message: dict[str, Any], as_ascii: bool) -> None:
    text = json.dumps(message, ensure_ascii=as_ascii)
    assert read_object(text) == message
    assert dict(message_reader()(text.encode("utf-8", "surrogatepass"))) == message


def test_an_object_may_nest_as_deep_as_the_limit_and_no_deeper() -> None:
    assert read_object(nested(DEEPEST))
    with pytest.raises(ValueError, match="nests"):
        read_object(nested(DEEPEST + 1))


def test_brackets_in_strings_do_not_nest() -> None:
    message = {"a": "[{" * 100, 'b"\\': '\\"[' * 100, "]": "}" * 100}
    assert read_object(json.dumps(message)) == message


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"7", b'"a"', b'{"a": NaN', b"\xff{}", b"\xfe\xff\0{\0}", b'{"a": 1}}']
)
def test_anything_but_an_object_is_an_error_that_is_safe_to_print(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it (is|nests)") as caught:
        read_object(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("member", ["return", "error", "neither"])
@pytest.mark.parametrize("name", EXPENSIVE)
def test_no_message_is_expensive_to_read_or_to_quote(name: str, member: str) -> None:
    line = f'{{"{member}": {EXPENSIVE[name]}}}'.encode()
    read = message_reader()
    tracemalloc.start()
    began = time.process_time()
    try:
        quoted = str(read(line))
    except Exception as error:  # noqa: BLE001 - whatever qemu.qmp is to report
        quoted = str(error)
    seconds, (_now, most) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 3
    assert most < 100 * len(line) + 2**20
    assert len(quoted) < 1000
    assert quoted.isprintable()


@pytest.mark.parametrize("name", EXPENSIVE)
def test_no_value_is_expensive_to_print(name: str) -> None:
    began = time.process_time()
    try:
        value = json.loads(EXPENSIVE[name])
    except (ValueError, RecursionError):
        value = EXPENSIVE[name]
    text = printable(value)
    assert time.process_time() - began < 3
    assert len(text) <= 200
    assert text.isprintable()
