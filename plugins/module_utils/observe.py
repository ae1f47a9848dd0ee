# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask every port that a guest has what it sees, and put the answers together as one state."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError, NobodyListens
from ansible_collections.kvm.hotplug.plugins.module_utils.machine.port import Machine, MachineView
from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestState, Layout

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.config.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.config.layout import ConfigLayout
    from ansible_collections.kvm.hotplug.plugins.module_utils.config.port import Config

OpenMachine = Callable[[], Awaitable[Machine]]
LayOut = Callable[["Domain"], Awaitable["ConfigLayout"]]


@dataclass(frozen=True)
class Source:
    """Where a guest is found: what opens its machine, what holds its config, and what lays a domain out without it."""

    open_machine: OpenMachine | None = None
    config: Config | None = None
    lay_out: LayOut | None = None


@dataclass
class Ports:
    """The open ports of a guest; it is shut off without a machine."""

    source: Source
    machine: Machine | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Observation:
    """A guest's state and, where config has one, its domain and that domain's layout.

    ``destination_args`` are the arguments of QEMU that have the live vCPUs, none where nobody can tell.
    """

    state: GuestState
    destination_args: tuple[str, ...] = ()
    domain: Domain | None = None
    config_layout: ConfigLayout | None = None


@contextlib.asynccontextmanager
async def opened(source: Source) -> AsyncIterator[Ports]:
    """Open the ports; a guest whose config is known, and at whose monitor nobody listens, is shut off.

    Raises the ``HotplugError`` of the machine port.
    """
    ports = Ports(source)
    if source.open_machine is not None:
        try:
            ports.machine = await source.open_machine()
        except NobodyListens as error:
            if source.config is None:
                raise
            ports.warnings.append(f"the guest is taken to be shut off: {error.msg}")
    try:
        yield ports
    finally:
        if ports.machine is not None:
            await ports.machine.close()


async def inspect(source: Source) -> tuple[Observation, list[str]]:
    """Open the ports, observe, and close them; return the warnings too. Raises ``HotplugError``."""
    async with opened(source) as ports:
        return await observe(ports), ports.warnings


async def observe(ports: Ports) -> Observation:
    """Return what all ports show; raises the ``HotplugError`` of the first that fails."""
    view = await ports.machine.observe() if ports.machine is not None else None
    return await _put_together(ports, view)


async def observe_again(ports: Ports) -> Observation:
    """Return what the machine showed after its last step, and what config has now."""
    return await _put_together(ports, ports.machine.latest() if ports.machine is not None else None)


async def _put_together(ports: Ports, view: MachineView | None) -> Observation:
    source = ports.source
    if source.config is None or source.lay_out is None:
        if view is None:
            raise HotplugError(CONFIG_INVALID, "neither a monitor nor a config state was named")
        return Observation(GuestState(view.facts, view.layout, live=view.live), view.destination_args)
    from ansible_collections.kvm.hotplug.plugins.module_utils.config.state import config_state, facts_of

    config = await source.config.observe()
    domain = config.domain
    if config.warning and config.warning not in ports.warnings:
        ports.warnings.append(config.warning)
    config_layout = await _laid_out(source.lay_out, domain, needed=view is None)
    if view is None:
        layout = config_layout.layout if config_layout is not None else Layout(())
        state = GuestState(facts_of(domain), layout, config=config_state(domain, layout))
        return Observation(state, (), domain, config_layout)
    if domain.max_vcpus != view.layout.max_vcpus:
        raise HotplugError(
            CONFIG_INVALID,
            f"the domain XML has {domain.max_vcpus} vCPUs at most, the running guest {view.layout.max_vcpus}: "
            "they agree again after the next boot; until then name only one of qmp_socket and domain_xml",
        )
    state = GuestState(view.facts, view.layout, live=view.live, config=config_state(domain, view.layout))
    return Observation(state, view.destination_args, domain, config_layout)


async def _laid_out(lay_out: LayOut, domain: Domain, needed: bool) -> ConfigLayout | None:
    """The layout of a running guest is the machine's; that of the next boot only adds to what can be told."""
    try:
        return await lay_out(domain)
    except HotplugError:
        if needed:
            raise
        return None
