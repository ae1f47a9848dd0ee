# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The symbol of a vCPU's state in drawings, and what each symbol means."""

from __future__ import annotations

ENABLED = "●"
DISABLED = "○"
UNTIL_BOOT = "◐"
FROM_BOOT = "◑"
OFFLINE = "◌"

LEGEND = {
    ENABLED: "enabled",
    DISABLED: "disabled",
    OFFLINE: "enabled, but offline in the guest",
    UNTIL_BOOT: "enabled until the next boot",
    FROM_BOOT: "enabled from the next boot on",
}


def symbol_of(live: bool | None, config: bool | None, online: bool | None) -> str:
    """Return the symbol of a vCPU that is enabled in these scopes, None if its state there is unknown."""
    if live is None or config is None or live == config:
        if not (config if live is None else live):
            return DISABLED
        return OFFLINE if online is False else ENABLED
    return UNTIL_BOOT if live else FROM_BOOT
