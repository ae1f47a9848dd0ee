# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any value, text or reply that a hostile or defective peer could send, and what no result may have."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import json
import os
import signal
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from hypothesis import settings
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.entry.signals import ENDING

from .faulty_peers import hang_up, no_answer, raw
from .modules import module_args
from .peer import AsUsual, Line, Message, Trick

# How many inputs `make endurance` wants in all; a run of the unit tests has a small part of that.
ENDURANCE = int(os.environ.get("FUZZ", "0"))
SHARES = {"xml": 0.5, "options": 0.3, "qmp": 0.12, "agent": 0.08}
SHORT = {"xml": 150, "options": 40, "qmp": 15, "agent": 10}

HOSTILE = ["\x1b[31m", "\x9b", "\u202e", "\u2028", "\ud800", "\0", "%s%n", "{{ x }}", "../..", "x" * 5000, "'\"<>&"]

texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20), st.sampled_from(["", "0", "-1", "vcpu1", "running"]))
numbers = st.one_of(
    st.integers(-2, 9), st.sampled_from([2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308]), st.integers()
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)


def examples(kind: str) -> settings:
    """Return the settings of a fuzz test: its share of the inputs that are wanted."""
    return settings(max_examples=round(ENDURANCE * SHARES[kind]) or SHORT[kind])


def altered(value: Any, new: Any, random: Random) -> Any:
    """Return a value of which one part, at any depth, is the ``new`` one, missing, or there twice."""
    whole = [copy.deepcopy(value)]
    holder: Any = whole
    key: Any = 0
    while isinstance(holder[key], (dict, list)) and holder[key] and random.random() < 0.75:
        holder = holder[key]
        key = random.choice(sorted(holder) if isinstance(holder, dict) else range(len(holder)))
    how = random.choice(["new", "new", "missing", "twice"])
    if how == "missing" and holder is not whole:
        del holder[key]
    elif how == "twice" and isinstance(holder, list) and holder is not whole:
        holder.append(holder[key])
    else:
        holder[key] = new
    return whole[0]


@st.composite
def tricks(draw: st.DrawFn) -> Trick:
    """What a peer may do instead of a reply, or to it."""
    how = draw(st.sampled_from(["reply"] * 6 + ["error", "text", "close", "silence"]))
    if how == "close":
        return hang_up
    if how == "silence":
        return no_answer
    if how == "text":
        return raw(draw(st.one_of(st.binary(max_size=60), st.sampled_from([b"[" * 5000, b'{"return": 1', b"\xff"]))))
    if how == "error":
        error = {"error": draw(st.one_of(values, st.fixed_dictionaries({"class": texts, "desc": texts})))}

        async def fail(line: Line, command: Message, _as_usual: AsUsual) -> None:
            await line.reply(command, error)

        return fail
    new, random = draw(values), Random(draw(st.integers(0, 2**32)))

    async def alter(line: Line, command: Message, as_usual: AsUsual) -> None:
        replies: list[Message] = []

        async def keep(_command: Message, answer: Message) -> None:
            replies.append(answer)

        line.reply = keep  # type: ignore[method-assign]  # for the usual reply only
        try:
            await as_usual()
        finally:
            del line.reply  # type: ignore[method-assign]
        for reply in replies:
            numbered = {**reply, **({"id": command["id"]} if "id" in command else {})}
            await line.say_raw(json.dumps(altered(numbered, new, random)).encode() + b"\r\n")

    return alter


def run_module(module: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Run a module's ``main`` in this process, and return its result."""
    main = importlib.import_module(f"ansible_collections.kvm.hotplug.plugins.modules.{module}").main
    # Ansible keeps the warnings of a process, and these would be those of all runs before.
    warnings._global_warnings.clear()
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in ENDING}
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            module_args(dict(options)),
            pytest.raises(SystemExit),
        ):
            main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert err.getvalue() == ""
    result: dict[str, Any] = json.loads(out.getvalue())
    return result


def check_result(result: Mapping[str, Any]) -> None:
    """Require that a result is complete, short, printable, and no defect's."""
    assert "exception" not in result, result["exception"]
    assert result.get("error_code") != "internal", result["msg"]
    assert isinstance(result["changed"], bool)
    assert bool(result.get("failed")) == ("error_code" in result), result
    unprintable = [text for text in texts_of(result) if not text.replace("\n", "").isprintable()]
    assert unprintable == []
    assert len(json.dumps({key: value for key, value in result.items() if key != "invocation"})) < 60_000


def texts_of(value: Any) -> Iterator[str]:
    """All texts of a result but those that are the task's own options."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            if key != "invocation":
                yield key
                yield from texts_of(member)
    elif isinstance(value, list):
        for member in value:
            yield from texts_of(member)
