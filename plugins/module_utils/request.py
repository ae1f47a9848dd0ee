# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task asks for: the options of ``vcpu`` in, a request the engine understands out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.desired import Wish, parse_wish
from ansible_collections.kvm.hotplug.plugins.module_utils.options import parse_timeout


@dataclass(frozen=True)
class Request:
    """What the user asked for. ``guest_online`` is ensure, verify or ignore; ``timeout`` in seconds."""

    wish: Wish
    scope: str = "all"
    whole_cores: bool = False
    guest_online: str = "ensure"
    timeout: float = 60.0
    rollback: bool = False
    force: bool = False
    check_mode: bool = False

    @property
    def needs_config(self) -> bool:
        """Whether a config that cannot go with the running guest is in the way."""
        return self.scope in ("all", "config")


def parse_request(params: Mapping[str, Any], check_mode: bool) -> Request:
    """Return what the options of ``vcpu`` ask for; raises ``HotplugError`` for what no guest could satisfy."""
    return Request(
        wish=parse_wish(params),
        scope=params["scope"],
        whole_cores=params["granularity"] == "core",
        guest_online=params["guest_online"],
        timeout=parse_timeout(params),
        rollback=params["on_failure"] == "rollback",
        force=bool(params.get("force")),
        check_mode=check_mode,
    )
