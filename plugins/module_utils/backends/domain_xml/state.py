# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's XML for the config port: the next boot's vCPUs, and which of them must stay enabled."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import TYPE_CHECKING, Callable, NamedTuple, Protocol

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import RFC
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.tuning import tuning_of
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    NOT_HOTPLUGGABLE,
    HotplugError,
    printable,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Blocker, ConfigState, GuestFacts
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import ConfigView, unknown_arguments

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Layout

BOOT_VCPU = Blocker(NOT_HOTPLUGGABLE, "a guest boots on vCPU 0", "leave it enabled")
_S390X = Blocker(NOT_HOTPLUGGABLE, "s390x machines cannot unplug vCPUs", "omit boot_vcpus")
_RFC_DIALECT = Blocker(
    CONFLICTING_REQUEST,
    "the <vcpus> of the domain XML is in the RFC's dialect, which does not say which vCPUs are hotpluggable",
    "omit boot_vcpus, or write <vcpus> in libvirt's dialect",
)


class NextBoot(Protocol):
    """The machine of a domain's next boot."""

    @property
    def layout(self) -> Layout:
        """Its entities."""

    def check(self, enabled: Collection[int]) -> None:
        """Refuse (config_invalid) vCPUs with which it does not start."""

    def arguments(self, enabled: Collection[int]) -> tuple[str, ...]:
        """Return QEMU's arguments for these vCPUs, none if they are unknown; raises config_invalid."""


DeriveBoot = Callable[["Domain"], Awaitable[NextBoot]]


class Definition(NamedTuple):
    """A domain's XML and the machine of its next boot; if that is None, ``error`` is the reason."""

    domain: Domain
    next_boot: NextBoot | None
    error: HotplugError | None = None

    def view(self, source: str, warning: str = "") -> ConfigView:
        """Return the view of the config port; ``source`` is the name of the store of the XML."""
        return ConfigView(
            facts=facts_of(self.domain),
            state=config_state(self.domain),
            max_vcpus=self.domain.max_vcpus,
            source=source,
            layout=None if self.next_boot is None else self.next_boot.layout,
            layout_error=self.error,
            boot_arguments=unknown_arguments if self.next_boot is None else self.next_boot.arguments,
            warning=warning,
        )

    def layout(self, running: Layout | None) -> Layout | None:
        """Return the layout of the ``running`` machine, or without one that of the next boot if it is known."""
        return self.next_boot.layout if running is None and self.next_boot is not None else running


async def define(domain: Domain, derive_boot: DeriveBoot) -> Definition:
    """Return the domain with its next boot's machine, or with the ``HotplugError`` of deriving that."""
    try:
        return Definition(domain, await derive_boot(domain))
    except HotplugError as error:
        return Definition(domain, None, error)


def config_state(domain: Domain) -> ConfigState:
    """Return the config state."""
    return ConfigState(
        enabled=domain.enabled,
        cannot_disable={0: BOOT_VCPU},
        hotpluggable=domain.hotpluggable,
        order=domain.order,
        tuning=tuning_of(domain),
        boot_vcpus_fixed=_S390X if domain.arch == "s390x" else _RFC_DIALECT if domain.dialect == RFC else None,
    )


def facts_of(domain: Domain) -> GuestFacts:
    """Return the facts of a guest that is shut off, made safe to print."""
    facts = (domain.name, domain.uuid, domain.arch, domain.machine)
    name, uuid, arch, machine = (None if fact is None else printable(fact) for fact in facts)
    return GuestFacts(name=name, uuid=uuid, state="shutoff", arch=arch, machine=machine)
