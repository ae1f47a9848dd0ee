# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows of the reports of audits and rollouts, as the tests of the pages need them."""

from __future__ import annotations

from typing import Any

HOSTILE_NAMES = (
    "<script>document.title='ran'</script>",
    "</script><script>document.title='ran'</script>",
    "\"onmouseover=\"document.title='ran'\" autofocus onfocus=\"document.title='ran'",
    "<img src=x onerror=document.title='ran'>",
    "</td></tr></tbody></table><iframe src=http://192.0.2.1/>",
    "<style>@import url(http://192.0.2.1/a.css)</style><link rel=stylesheet href=http://192.0.2.1/b.css>",
    "<meta http-equiv=refresh content=0;url=http://192.0.2.1/>",
    "{{ 6 * 7 }}{% raw %}<b>",
    "a & b &lt;c&gt; --> ]]> <!--",
    "\u202egpj.exe\u2066\u0000\u001b[31m",
    "javascript:document.title='ran'",
    "`${document.title='ran'}`",
)


def audited(name: str, **facts: Any) -> dict[str, Any]:
    """Return the row of a guest in the report of an audit."""
    return {**_row(name), "drift": {"config": "", "libvirt": "", "placement": "", "desired": ""}, "drifts": "", **facts}


def rolled_out(name: str, **facts: Any) -> dict[str, Any]:
    """Return the row of a guest in the report of a rollout."""
    return {**_row(name), "steps": "plug 2", "result": "changed", "failed": False, **facts}


def _row(name: str) -> dict[str, Any]:
    return {
        "guest": name,
        "hypervisor": "h1",
        "uuid": None,
        "arch": "x86_64",
        "machine": "pc-q35-10.0",
        "state": "running",
        "live": "0-1",
        "config": None,
        "online": None,
        "headroom": {"live": 2, "config": None},
        "planned": None,
        "cores": [{"socket": number, "core": 0, "vcpus": str(number)} for number in range(4)],
        "error_code": "",
        "msg": "",
    }
