# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan untrusted XML: refuse constructs that could harm a parser, and find the positions of elements about vCPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from xml.parsers import expat

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.encoding import invalid

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError

DEPTH_LIMIT = 200
ELEMENT_LIMIT = 200_000
ATTRIBUTE_LIMIT = 200

# expat puts the namespace before a name, separated by this; neither can contain a space.
_NAMESPACE_MARK = " "

_NAME = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_TAG_END = re.compile(rb"\s*(/?)>")


class Attribute(NamedTuple):
    """The position of an attribute; ``start`` is that of the white space before it."""

    start: int
    value_start: int
    value_end: int

    @property
    def end(self) -> int:
        return self.value_end + 1


class Tag(NamedTuple):
    """The position of an element, and its attributes without a namespace.

    Its start tag is ``start`` to ``inside``, the whole element ``start`` to ``end``; ``last`` is where its name
    and attributes end.
    """

    start: int
    last: int
    inside: int
    end: int
    line: int
    is_empty: bool
    values: Mapping[str, str]
    places: Mapping[str, Attribute]


@dataclass
class Places:
    """The elements of a domain about its vCPUs, each as often as it occurs; ``children`` are those of <vcpus>."""

    vcpu: list[Tag] = field(default_factory=list)
    vcpus: list[Tag] = field(default_factory=list)
    children: list[Tag] = field(default_factory=list)
    topology: list[Tag] = field(default_factory=list)
    cells: list[Tag] = field(default_factory=list)
    pins: list[Tag] = field(default_factory=list)
    schedulers: list[Tag] = field(default_factory=list)


# The list of each element, by its path in the domain.
_PATHS = {
    ("domain", "vcpu"): "vcpu",
    ("domain", "vcpus"): "vcpus",
    ("domain", "vcpus", "vcpu"): "children",
    ("domain", "cpu", "topology"): "topology",
    ("domain", "cpu", "numa", "cell"): "cells",
    ("domain", "cputune", "vcpupin"): "pins",
    ("domain", "cputune", "vcpusched"): "schedulers",
}


def check_markup(markup: bytes) -> None:
    """Accept ``markup``, which is UTF-8 whatever it declares.

    Raises config_invalid when it is not well-formed, has a document type, or exceeds a limit.
    """
    _Scan(markup).run()


def find_places(markup: bytes) -> Places:
    """Return the positions of the elements about vCPUs in ``markup``, which is refused as by ``check_markup``."""
    scan = _PlacesScan(markup)
    scan.run()
    return scan.places


class _Scan:
    def __init__(self, markup: bytes) -> None:
        self._markup = markup
        self._elements = 0
        self._depth = 0
        self._parser = expat.ParserCreate("utf-8", _NAMESPACE_MARK)
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._doctype

    def run(self) -> None:
        try:
            self._parser.Parse(self._markup, True)
        except expat.ExpatError as error:
            raise invalid(
                error.lineno, f"it is not well-formed XML ({expat.ErrorString(error.code)}): fix it"
            ) from None

    def _doctype(self, *_declaration: object) -> None:
        raise invalid(
            self._parser.CurrentLineNumber,
            "it has a document type (<!DOCTYPE ...>), which could declare entities: remove it, no domain needs one",
        )

    def _start(self, _name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise self._beyond(DEPTH_LIMIT, "nested elements")
        if self._elements > ELEMENT_LIMIT:
            raise self._beyond(ELEMENT_LIMIT, "elements")
        if len(attributes) > ATTRIBUTE_LIMIT:
            raise self._beyond(ATTRIBUTE_LIMIT, "attributes of an element")

    def _beyond(self, limit: int, what: str) -> HotplugError:
        line = self._parser.CurrentLineNumber
        return invalid(line, f"it has more than {limit} {what}, which no guest needs: is it the right file?")

    def _end(self, _name: str) -> None:
        self._depth -= 1


class _PlacesScan(_Scan):
    def __init__(self, markup: bytes) -> None:
        super().__init__(markup)
        self.places = Places()
        self._path: list[str] = []
        self._open: list[tuple[int, int, dict[str, str]]] = []

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        super()._start(name, attributes)
        self._path.append(name)
        if self._kept() is not None:
            self._open.append((self._parser.CurrentByteIndex, self._parser.CurrentLineNumber, attributes))

    def _end(self, name: str) -> None:
        super()._end(name)
        kept = self._kept()
        if kept is not None:
            kept.append(self._tag(*self._open.pop()))
        self._path.pop()

    def _kept(self) -> list[Tag] | None:
        """The list to which the current element belongs."""
        name = _PATHS.get(tuple(self._path))
        return None if name is None else getattr(self.places, name)

    def _tag(self, start: int, line: int, values: dict[str, str]) -> Tag:
        """Find the parts of a well-formed tag."""
        position = _matched(_NAME, self._markup, start).end()
        places: dict[str, Attribute] = {}
        while True:
            match = _ATTRIBUTE.match(self._markup, position)
            if match is None:
                break
            value = 2 if match.group(2) is not None else 3
            places[match.group(1).decode()] = Attribute(match.start(), match.start(value), match.end(value))
            position = match.end()
        closing = _matched(_TAG_END, self._markup, position)
        is_empty = bool(closing.group(1))
        end = closing.end()
        if not is_empty:
            end = self._markup.index(b">", self._parser.CurrentByteIndex) + 1
        own = {name: values[name] for name in places if name in values}
        return Tag(start, position, closing.end(), end, line, is_empty, own, places)


def _matched(pattern: re.Pattern[bytes], markup: bytes, position: int) -> re.Match[bytes]:
    match = pattern.match(markup, position)
    if match is None:
        raise AssertionError(f"no tag at byte {position} of XML that expat accepts as well-formed")
    return match
