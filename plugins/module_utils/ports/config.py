# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config port: the interface of the store of a guest's config state."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Callable, NamedTuple, Protocol

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import ConfigState, GuestFacts, Layout, Maximum

BootArguments = Callable[[Collection[int]], "tuple[str, ...]"]


def unknown_arguments(_enabled: Collection[int]) -> tuple[str, ...]:
    """Return no arguments, for a config without information on how QEMU is started."""
    return ()


class ConfigView(NamedTuple):
    """The config at one moment.

    ``facts`` are those of the guest while it is shut off, ``source`` is the name of the config store, and
    ``warning`` is for the user. ``layout`` is that of the next boot; if it is None, ``layout_error`` is the reason.
    ``boot_arguments`` returns the arguments of QEMU that start the guest with a set of enabled vCPUs, none if they
    are unknown; it raises ``HotplugError`` (config_invalid) for a set that QEMU cannot start with.
    """

    facts: GuestFacts
    state: ConfigState
    max_vcpus: int
    source: str
    layout: Layout | None = None
    layout_error: HotplugError | None = None
    boot_arguments: BootArguments = unknown_arguments
    warning: str = ""


class WriteResult(NamedTuple):
    """The outcome of a write: ``enabled`` are the config's vCPUs now, others' changes in between included.

    ``hotpluggable`` are the vCPUs that are hotpluggable now, enabled or not, and ``max_vcpus`` is the maximum now.
    ``failure`` is why only a part of it was written, None when all was; ``warning`` is for the user.
    """

    changed: bool
    enabled: frozenset[int]
    backup_file: str | None = None
    failure: HotplugError | None = None
    warning: str = ""
    hotpluggable: frozenset[int] = frozenset()
    max_vcpus: int = 0


class ConfigReader(Protocol):
    """The store of a guest's config state, for observing it.

    Every method but ``close`` raises ``HotplugError``: guest_not_found when there is no config, config_invalid
    when it cannot be used.
    """

    async def observe(self, running: GuestFacts | None = None) -> ConfigView:
        """Return the config; changes nothing.

        ``running`` are the facts of the running guest: the config of another guest is refused (config_invalid).
        """

    async def close(self) -> None:
        """Release the config; never raises."""


class Config(ConfigReader, Protocol):
    """The store of a guest's config state, for changing it too.

    Raises the same errors, and config_locked when another process keeps the config locked. ``layout`` is that of the
    running machine, or of the next boot if that has another maximum, None for that of the config. ``hotpluggable`` are
    vCPUs that stay enabled and become hotpluggable. ``maximum`` is that of the last ``resized``, None if it stays.
    """

    async def resized(self, maximum: Maximum) -> Layout:
        """Return the layout of the config as last observed, with another maximum; changes nothing.

        Raises count_unreachable, unknown_node or conflicting_request if it cannot have that.
        """

    def check(
        self,
        enabled: frozenset[int],
        layout: Layout | None = None,
        hotpluggable: frozenset[int] = frozenset(),
        maximum: Maximum | None = None,
    ) -> None:
        """Refuse (config_invalid) exactly ``enabled`` in the config as last observed, if the guest could not boot."""

    async def write(
        self,
        enabled: frozenset[int],
        layout: Layout | None = None,
        hotpluggable: frozenset[int] = frozenset(),
        maximum: Maximum | None = None,
    ) -> WriteResult:
        """Apply the difference between the config as last observed and ``enabled`` to the config as it is now.

        A state that ``check`` refuses is not written.
        """
