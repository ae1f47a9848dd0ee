# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge to Ansible for many guests: batches, and looking at all that a libvirt or a folder of sockets has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.batch import (
    check_concurrency,
    label_of,
    options_of_guests,
    sockets_of,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.capacity import Host
from ansible_collections.kvm.hotplug.plugins.module_utils.edge import Edge, GuestModule, warn
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.fleet import (
    Job,
    Limits,
    LookAtHost,
    Sight,
    converge_all,
    inspect_all,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.options import parse_timeout
from ansible_collections.kvm.hotplug.plugins.module_utils.report import batch_report, failure_report, info_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request import parse_request
from ansible_collections.kvm.hotplug.plugins.module_utils.source import Connections, connections, source_of


def run_vcpu_batch(module: GuestModule) -> None:
    """Do what ``kvm.hotplug.vcpu_batch`` is asked for."""
    jobs: list[Job] = []
    with Edge(module, lambda: batch_report(jobs)):
        limits = limits_of(module.params)
        options = options_of_guests(module.params["guests"], module.params["defaults"])

        async def work() -> list[str]:
            async with connections() as kept:
                for params in options:
                    jobs.append(_job(module, params, kept))
                return await converge_all(jobs, limits, host_looker(options, kept))

        warn(module, asyncio.run(work()))
        failed = [job for job in jobs if job.result.error is not None]
        if failed:
            raise _failure(failed, len(jobs))
        module.exit_json(**batch_report(jobs))


def run_vcpu_info(module: GuestModule) -> None:
    """Do what ``kvm.hotplug.vcpu_info`` is asked for."""
    with Edge(module, lambda: {"changed": False}):
        sights = asyncio.run(look_at_all(module.params))
        for sight in sights:
            warn(module, sight.warnings)
        failures = [sight for sight in sights if sight.error is not None]
        if len(sights) == 1 and _names_one(module.params) and failures and failures[0].error is not None:
            raise failures[0].error
        for sight in failures:
            if sight.error is not None:
                module.warn(f"{sight.label}: {sight.error.msg}")
        module.exit_json(
            changed=False,
            guests=[info_report(sight.seen) for sight in sights if sight.seen is not None],
            failed_guests=[failure_report(sight) for sight in failures],
        )


async def look_at_all(params: Mapping[str, Any]) -> list[Sight]:
    """Look at the guests that options of ``vcpu_info`` name; raises ``HotplugError`` when they cannot be listed."""
    concurrency = check_concurrency(params["max_concurrency"])
    async with connections() as kept:
        named = await guests_named(params, kept)
        return await inspect_all({label_of(one): source_of(one, kept) for one in named}, concurrency)


async def guests_named(params: Mapping[str, Any], kept: Connections) -> list[dict[str, Any]]:
    """Return the options of each guest that options of ``vcpu_info`` name; raises ``HotplugError``."""
    if params["qmp_sockets"] is not None:
        if _names_one(params):
            raise HotplugError(
                CONFLICTING_REQUEST, "qmp_sockets names guests of its own: leave out what names one, or it"
            )
        return [{**params, "qmp_socket": socket} for socket in sockets_of(params["qmp_sockets"])]
    if _names_one(params):
        return [dict(params)]
    return [{**params, "name": name} for name in await _names_at(params, kept)]


def host_of(params: Mapping[str, Any]) -> str:
    """Return the host that a guest's options name, nothing for the one that the module runs on."""
    if params["name"] is None:
        return ""
    from ansible_collections.kvm.hotplug.plugins.module_utils.libvirt.host import hypervisor_of

    return hypervisor_of(params["uri"])


def limits_of(params: Mapping[str, Any]) -> Limits:
    """Return what the options say of the batch as a whole; raises ``HotplugError``."""
    most = params["max_overcommit"]
    if most is not None and not most > 0:
        raise HotplugError(CONFLICTING_REQUEST, f"max_overcommit is {most:g}: give a number above 0, or leave it out")
    return Limits(
        concurrency=check_concurrency(params.get("max_concurrency", 1)),
        fail_fast=bool(params.get("fail_fast")),
        max_overcommit=most,
        refuse_overcommit=params["overcommit"] == "fail",
    )


def host_looker(options: Sequence[Mapping[str, Any]], kept: Connections) -> LookAtHost:
    """Return what looks at a host: through its libvirt if one of the guests has any, else by its CPUs alone."""
    uris = {host_of(params): params["uri"] for params in options if params["name"] is not None}

    async def look(name: str) -> Host:
        if name not in uris:
            return Host(name, os.cpu_count() or 1)
        from ansible_collections.kvm.hotplug.plugins.module_utils.libvirt.host import look_at

        timeout = parse_timeout(options[0])
        return await look_at(await kept.pool.connection(uris[name], True, timeout))

    return look


async def _names_at(params: Mapping[str, Any], kept: Connections) -> list[str]:
    from ansible_collections.kvm.hotplug.plugins.module_utils.libvirt.host import names_of_all

    return await names_of_all(await kept.pool.connection(params["uri"], True, parse_timeout(params)))


def _names_one(params: Mapping[str, Any]) -> bool:
    return any(params[way] is not None for way in ("name", "qmp_socket", "agent_socket", "domain_xml"))


def _job(module: GuestModule, params: Mapping[str, Any], kept: Connections) -> Job:
    return Job(
        label_of(params),
        source_of(params, kept),
        parse_request(params, module.check_mode),
        host_of(params),
        unique_uuid=params["name"] is not None,
    )


def _failure(failed: Sequence[Job], count: int) -> HotplugError:
    """The batch's own error, with the code of the first guest that failed."""
    told = [(job.label, job.result.error.code) for job in failed if job.result.error is not None]
    names = ", ".join(f"{label} ({code})" for label, code in told[:10])
    more = f" and {len(told) - 10} more" if len(told) > 10 else ""
    return HotplugError(
        told[0][1],
        f"{len(told)} of {count} guests failed: {names}{more}; each one's msg in guests says why and what to do",
    )
