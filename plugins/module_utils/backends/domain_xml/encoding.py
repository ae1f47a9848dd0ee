# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decode the bytes of an XML file and encode them again, without loss, in the encoding of the file."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError, printable

# The XML of a guest with thousands of vCPUs and devices has a tenth of this.
SIZE_LIMIT = 4 * 1024 * 1024

_UTF16 = ("utf-16", "utf-16-le", "utf-16-be")
# Each encodes characters independently, so that replaced text does not change the bytes of other text.
_BYTEWISE = (
    "utf-8",
    "ascii",
    "koi8-r",
    "koi8-u",
    *(f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))),
    *(f"cp{page}" for page in range(1250, 1259)),
)
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_WITHOUT_BOM = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}

_DECLARATION = re.compile(r"""<\?xml\s[^>]*?\bencoding\s*=\s*["']([^"'>]{0,60})["']""")


class XmlText(NamedTuple):
    """A file's text, and the encoding to write it with.

    ``declared`` is the encoding that the file declares, if its first bytes do not show it.
    """

    text: str
    codec: str
    bom: bytes
    declared: str | None = None

    def encode(self, text: str) -> bytes:
        """Return ``text`` as bytes of a file in the same encoding."""
        return self.bom + text.encode(self.codec)


def invalid(line: int | None, problem: str) -> HotplugError:
    """Return the error for XML that cannot be used; ``problem`` is the cause and the remedy."""
    where = "the domain XML" if line is None else f"line {line} of the domain XML"
    return HotplugError(CONFIG_INVALID, f"{where}: {problem}")


def decode(data: bytes) -> XmlText:
    """Return the text of a file.

    Raises config_invalid when it is empty, too long, or not in the encoding it declares.
    """
    if len(data) > SIZE_LIMIT:
        raise invalid(None, f"it is longer than {SIZE_LIMIT} bytes, which no guest needs: is it the right file?")
    if not data.strip(b" \t\r\n"):
        raise invalid(1, "it is empty: write the guest's <domain> element there")
    bom, codec, declared = _encoding(data)
    body = data[len(bom) :]
    try:
        text = body.decode(codec)
    except UnicodeDecodeError as error:
        line = 1 + body[: error.start].decode(codec, "replace").count("\n")
        raise invalid(
            line, f"it has bytes that are not {codec}: save it in the encoding it declares, or in UTF-8"
        ) from None
    if text.startswith("\N{BYTE ORDER MARK}"):
        raise invalid(1, "it has a second byte order mark, which no parser accepts: remove it")
    decoded = XmlText(text, codec, bom, declared)
    if decoded.encode(text) != data:
        raise invalid(None, f"its {codec} text cannot be written back unchanged: save it in UTF-8")
    return decoded


def _encoding(data: bytes) -> tuple[bytes, str, str | None]:
    """Return the byte order mark, Python's name of the encoding, and the declared one if it is needed."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, b"\0\0\0<", b"<\0\0\0")):
        raise invalid(1, "it is in UTF-32, which XML parsers need not support: save it in UTF-8")
    bom = next((mark for mark in _BOMS if data.startswith(mark)), b"")
    found = _BOMS.get(bom) or _WITHOUT_BOM.get(data[:2])
    head = data[len(bom) : len(bom) + 400].decode(found if found in _UTF16 else "latin-1", "replace")
    match = _DECLARATION.match(head)
    if match is None:
        if found in _UTF16 and not bom:
            raise invalid(1, "it is in UTF-16 without a byte order mark: save it in UTF-8")
        return bom, found or "utf-8", None
    declared = _known(match.group(1))
    if declared is None:
        raise invalid(
            1,
            f"its encoding {printable(match.group(1), 60)!r} is not supported: save it in UTF-8 and declare that",
        )
    if (declared in _UTF16) != (found in _UTF16) or (found == "utf-8" and declared != "utf-8"):
        raise invalid(
            1,
            f"it declares the encoding {printable(match.group(1), 60)}, but is encoded differently: save it in UTF-8",
        )
    return bom, found or declared, None if found else match.group(1)


def _known(name: str) -> str | None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", name):
        return None
    try:
        codec = codecs.lookup(name).name
    except LookupError:
        return None
    return codec if codec in _BYTEWISE or codec in _UTF16 else None
