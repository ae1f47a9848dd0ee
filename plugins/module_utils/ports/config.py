# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config port: what the engine asks of whatever holds a guest's config state."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Layout


class ConfigView(NamedTuple):
    """The config at one moment; ``source`` names what holds it, for people, and ``warning`` what they should know."""

    domain: Domain
    source: str
    warning: str = ""


class WriteResult(NamedTuple):
    """What became of a write: ``domain`` is the config now, others' changes in between included.

    ``failure`` is why only a part of it was written, None when all was.
    """

    changed: bool
    domain: Domain
    backup_file: str | None = None
    failure: HotplugError | None = None


class Config(Protocol):
    """What holds a guest's config state.

    Every method but ``close`` raises ``HotplugError``: guest_not_found when there is no config, config_invalid
    when it cannot be used, config_locked when somebody else keeps it.
    """

    async def observe(self) -> ConfigView:
        """Return what the config is; changes nothing."""

    async def write(self, enabled: frozenset[int], layout: Layout | None = None) -> WriteResult:
        """Enable and disable what makes ``enabled`` of the config as last observed, in the config as it is now.

        ``layout`` is the machine's, None where it is not known. What the guest could not boot with is refused and
        not written.
        """

    async def close(self) -> None:
        """Let go of the config; never raises."""
