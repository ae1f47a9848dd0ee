# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages about audits and rollouts: one HTML file each, which loads nothing and runs only the script in it.

Names and messages come from guests, hypervisors and inventories. They are bounded and made printable by ``contents``,
and escaped by Jinja2. The page's own policy also permits no script and no style but those whose hashes it has.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .contents import Contents, audit_contents, rollout_contents

_TEMPLATES = Path(__file__).parent / "templates"


def audit_page(report: Mapping[str, Any]) -> str:
    """Return the page about an audit: ``report`` has ``guests`` and ``failures``, those of ``audit_report``."""
    return _page(audit_contents(report))


def rollout_page(report: Mapping[str, Any]) -> str:
    """Return the page about a rollout: ``report`` is what ``rollout_report`` returns."""
    return _page(rollout_contents(report))


def _page(contents: Contents) -> str:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style, script = (_own(name) for name in ("page.css", "page.js"))
    return environment.get_template("page.html.j2").render(
        contents=contents,
        style=style,
        script=script,
        policy=_policy(style, script),
    )


def _own(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
