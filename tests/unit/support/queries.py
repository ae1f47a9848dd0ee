# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Helpers that run requests on scripted guests and return the outcome in a short form."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Callable, TypeVar

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.machine import QmpMachine
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import DirectSource, OpenMachine
from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist, parse_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Host
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Source
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import Machine
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import DesiredState, VcpuTarget
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import GuestRef
from ansible_collections.kvm.hotplug.plugins.module_utils.request.limits import Limits
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.batch import Job, converge_all
from ansible_collections.kvm.hotplug.plugins.module_utils.run.convergence import Convergence
from ansible_collections.kvm.hotplug.plugins.module_utils.run.interruption import Interruption
from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Entry
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Observation, inspect

# Nothing here takes so long. Who runs into it hangs.
FOR_EVER = 60.0

Result = TypeVar("Result")


def desired(enabled: str = "", disabled: str = "", exclusive: bool = False) -> VcpuTarget:
    """Return the desired state with these vCPUs enabled and those disabled."""
    return VcpuTarget(
        parse_cpulist(enabled) if enabled else frozenset(),
        parse_cpulist(disabled) if disabled else frozenset(),
        exclusive,
    )


def opener(address: str, timeout: float = 10.0, takes_back: bool | None = None) -> OpenMachine:
    """Return what connects to the monitor at ``address``; ``takes_back`` is what is known of its host's KVM."""

    async def run_query() -> bool | None:
        return takes_back

    async def open_machine() -> Machine:
        machine = QmpMachine(address, timeout, run_query)
        await machine.connect()
        return machine

    return open_machine


def bring(
    address: str,
    wanted: DesiredState,
    timeout: float = 10.0,
    patience: float = 10.0,
    takes_back: bool | None = None,
    **how: Any,
) -> Convergence:
    """Bring the guest at ``address`` to the desired state; the monitor may take ``patience`` seconds for a reply."""
    request = Request(wanted, timeout=timeout, **how)
    return converge(DirectSource(opener(address, patience, takes_back)), request)


def converge(source: Source, request: Request) -> Convergence:
    """Run one guest, and return the result."""
    job = Job(GuestRef(), source, request)
    run(lambda: converge_all([job], Limits(), no_host, Interruption()))
    return job.result


async def no_host(name: str) -> Host:
    """Fail: no test that uses this limits what a host may have."""
    raise AssertionError(name)


def look(address: str, patience: float = 10.0, takes_back: bool | None = None) -> Observation:
    """Observe the guest at ``address``."""
    return run(lambda: inspect(DirectSource(opener(address, patience, takes_back))))[0]


def run(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run ``work`` to its end, and require that it leaves no task running."""

    async def all_of_it() -> Result:
        result = await asyncio.wait_for(work(), FOR_EVER)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left running: {left}"
        return result

    return asyncio.run(all_of_it())


def entries(result: Convergence) -> list[Entry]:
    """The journal of a run, empty where there was nothing to do."""
    return [] if result.journal is None else result.journal.entries


def steps(result: Convergence) -> list[str]:
    """The outcome of each step, such as ``plug 5: done``."""
    return [f"{entry.step.kind.name} {entry.vcpus}: {entry.status}" for entry in entries(result)]


def enabled(seen: Observation | None) -> str | None:
    """The vCPUs that are enabled, as a cpulist."""
    if seen is None or seen.state.live is None:
        return None
    return format_cpulist(seen.state.live.enabled)


def code(result: Convergence) -> str | None:
    """The code of the error it ended with, if any."""
    return None if result.error is None else result.error.code
