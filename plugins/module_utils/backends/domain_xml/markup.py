# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace parts of XML text in the style that the text has already: its quotation marks, line ends and indentation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.scan import Tag

_COMMENT_ON_LINE = re.compile(rb"[ \t]*<!--[^\r\n]*?-->")
_NUMBER = re.compile(rb"(\s*)[0-9]+(\s*)")

# The limit of text that is repeated for each vCPU; without it, a file could exhaust the memory.
MOST_BLANKS = 200

# The bytes from a start to an end are replaced with a text.
Splice = tuple[int, int, str]


def spliced(markup: bytes, splices: Iterable[Splice]) -> bytes:
    """Return ``markup`` with all splices applied."""
    parts: list[bytes] = []
    position = 0
    for start, end, text in sorted(splices, key=lambda splice: splice[:2]):
        parts += [markup[position:start], text.encode()]
        position = end
    return b"".join([*parts, markup[position:]])


class Markup:
    """XML text in UTF-8, and the splices that change its elements."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._first_quote: str | None = None

    def set(self, tag: Tag, name: str, value: object) -> Splice:
        """Set an attribute of an element."""
        place = tag.places.get(name)
        if place is not None:
            quote = self.text[place.value_end : place.end].decode()
            return place.value_start, place.value_end, _escaped(value, quote)
        return tag.last, tag.last, f" {written(name, value, self.quote(tag))}"

    def drop(self, tag: Tag, name: str) -> Iterator[Splice]:
        """Remove an attribute from an element, if it has it."""
        place = tag.places.get(name)
        if place is not None:
            yield place.start, place.end, ""

    def set_number(self, tag: Tag, value: int) -> Splice:
        """Replace the number in an element."""
        end = self.text.rindex(b"<", tag.inside, tag.end)
        match = _NUMBER.fullmatch(self.text, tag.inside, end)
        if match is None:
            return tag.inside, end, str(value)
        return match.end(1), match.start(2), str(value)

    def remove(self, tag: Tag) -> Splice:
        """Remove an element with its line, and with a comment on the same line."""
        return tag.start - len(self.indent(tag).encode()), self.after(tag), ""

    def quote(self, tag: Tag) -> str:
        """Return the quotation mark that the file uses in this element, or else in its first attribute."""
        for place in tag.places.values():
            return self.text[place.value_end : place.end].decode()
        if self._first_quote is None:
            found = re.search(rb"=\s*([\"'])", self.text[: tag.start].split(b"<domain", 1)[-1])
            self._first_quote = found.group(1).decode() if found else "'"
        return self._first_quote

    def indent(self, tag: Tag) -> str:
        """Return the line end and the white space before a tag, if it is the first on its line."""
        start = tag.start
        while start and tag.start - start <= MOST_BLANKS and self.text[start - 1] in b" \t":
            start -= 1
        if not start or self.text[start - 1] not in b"\r\n":
            return ""
        line_end = b"\r\n" if self.text.endswith(b"\r\n", 0, start) else self.text[start - 1 : start]
        return (line_end + self.text[start : tag.start]).decode()

    def after(self, tag: Tag) -> int:
        """Return the position after an element, and after a comment on the same line, which belongs to it."""
        comment = _COMMENT_ON_LINE.match(self.text, tag.end)
        return comment.end() if comment else tag.end

    def closing(self, sibling: Tag) -> str:
        """Return the end of an empty element, written as that of its sibling."""
        if not sibling.is_empty or sibling.inside - sibling.last > MOST_BLANKS:
            return "/>"
        return self.text[sibling.last : sibling.inside].decode()


def written(name: str, value: object, quote: str) -> str:
    """Return an attribute."""
    return f"{name}={quote}{_escaped(value, quote)}{quote}"


def _escaped(value: object, quote: str) -> str:
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(quote, f"&#{ord(quote)};")
    return "".join(char if " " <= char <= "~" else f"&#{ord(char)};" for char in text)
