# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask every port that a guest has what it sees, and put the answers together as one state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFIG_INVALID, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.machine.port import MachineView
from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestState, Layout
from ansible_collections.kvm.hotplug.plugins.module_utils.ports import LayOut, Ports, Source, opened

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.config.domain import Domain
    from ansible_collections.kvm.hotplug.plugins.module_utils.config.layout import ConfigLayout


@dataclass(frozen=True)
class Observation:
    """A guest's state and, where config has one, its domain and that domain's layout.

    ``destination_args`` are the arguments of QEMU that have the live vCPUs, none where nobody can tell.
    """

    state: GuestState
    destination_args: tuple[str, ...] = ()
    domain: Domain | None = None
    config_layout: ConfigLayout | None = None


async def inspect(source: Source) -> tuple[Observation, list[str]]:
    """Open the ports, observe, and close them; return the warnings too. Raises ``HotplugError``."""
    async with opened(source, reading=True) as ports:
        return await observe(ports, config_needed=False), ports.warnings


async def observe(ports: Ports, config_needed: bool = True) -> Observation:
    """Return what all ports show.

    A config that cannot go with the running guest is left out with a warning unless ``config_needed``. Raises the
    ``HotplugError`` of the first port that fails.
    """
    view = await ports.machine.observe() if ports.machine is not None else None
    return await _put_together(ports, view, config_needed)


async def observe_again(ports: Ports, config_needed: bool = True) -> Observation:
    """Return what the machine showed after its last step, and what config has now."""
    view = ports.machine.latest() if ports.machine is not None else None
    return await _put_together(ports, view, config_needed)


async def _put_together(ports: Ports, view: MachineView | None, config_needed: bool) -> Observation:
    if view is not None:
        ports.warn(view.warning)
    if ports.config is None or ports.lay_out is None:
        return _of_machine(view)
    from ansible_collections.kvm.hotplug.plugins.module_utils.config.state import config_state, facts_of

    config = await ports.config.observe()
    domain = config.domain
    ports.warn(config.warning)
    if view is not None and domain.max_vcpus != view.layout.max_vcpus:
        reason = (
            f"the config has {domain.max_vcpus} vCPUs at most, the running guest {view.layout.max_vcpus}: "
            "they agree again after the next boot"
        )
        if config_needed:
            raise HotplugError(CONFIG_INVALID, f"{reason}; until then use scope live")
        ports.warn(f"{reason}; config is left out")
        return _of_machine(view)
    config_layout = await _laid_out(ports.lay_out, domain, needed=view is None)
    if view is None:
        layout = config_layout.layout if config_layout is not None else Layout(())
        state = GuestState(facts_of(domain), layout, config=config_state(domain, layout))
        return Observation(state, (), domain, config_layout)
    state = GuestState(view.facts, view.layout, live=view.live, config=config_state(domain, view.layout))
    return Observation(state, view.destination_args, domain, config_layout)


def _of_machine(view: MachineView | None) -> Observation:
    if view is None:
        raise HotplugError(CONFIG_INVALID, "neither a monitor nor a config state was named")
    return Observation(GuestState(view.facts, view.layout, live=view.live), view.destination_args)


async def _laid_out(lay_out: LayOut, domain: Domain, needed: bool) -> ConfigLayout | None:
    """The layout of a running guest is the machine's; that of the next boot only adds to what can be told."""
    try:
        return await lay_out(domain)
    except HotplugError:
        if needed:
            raise
        return None
