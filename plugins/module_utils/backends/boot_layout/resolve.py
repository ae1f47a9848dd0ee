# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vCPUs that the next boot can have: derived from the XML, or from a temporary QEMU as the last resort."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import TYPE_CHECKING, Callable, NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import (
    ConfigLayout,
    layout_of_domain,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError, printable

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.model import Layout


class BootLayout(NamedTuple):
    """The machine that a domain boots on next."""

    domain: Domain
    laid_out: ConfigLayout

    @property
    def layout(self) -> Layout:
        """Its entities."""
        return self.laid_out.layout

    def check(self, enabled: Collection[int]) -> None:
        """Refuse vCPUs with which it does not start; see ``ConfigLayout``."""
        self.laid_out.check(enabled)

    def arguments(self, enabled: Collection[int]) -> tuple[str, ...]:
        """Return QEMU's arguments that start it with these vCPUs; see ``qemu_args``."""
        from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.qemu_args import qemu_args

        return qemu_args(self.domain, self.laid_out, enabled)


LayOut = Callable[["Domain"], Awaitable[BootLayout]]


async def lay_out(
    domain: Domain,
    policy: str,
    emulator: str | None,
    timeout: float,
    xml_file: str | None = None,
    remote: bool = False,
) -> BootLayout:
    """Return the machine of the next boot; ``policy`` is the option ``probe``: auto, never or always.

    ``emulator`` is that option, and ``xml_file`` the file of the domain, None if libvirt stores it; ``remote`` is
    whether that libvirt is on another host.

    Raises ``HotplugError``: config_invalid for a domain that no QEMU would start, or that needs a probe if ``policy``
    forbids it; backend_missing without a QEMU to probe.
    """
    if emulator is not None:
        domain = domain._replace(emulator=emulator)
    if policy != "always":
        derived = layout_of_domain(domain)
        if derived is not None:
            return BootLayout(domain, derived)
        if policy == "never":
            raise HotplugError(
                CONFIG_INVALID,
                f"the vCPUs of a {printable(domain.machine or 'nameless', 60)} machine cannot be derived from the XML: "
                "use probe: auto, which starts a temporary QEMU to query them",
            )
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.emulator import emulator_of
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.probe import probe

    return BootLayout(domain, await probe(emulator_of(domain, emulator, xml_file, remote), domain, timeout))
