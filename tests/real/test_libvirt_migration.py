# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sparse libvirt guest migrates live from one daemon to another, and virsh and the kernel judge what it has there."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import Any

from lab import observer
from lab.ospm_domain import OspmDomain

from .conftest import OspmDomains
from .support.modules import Result, Vcpu

PINNED = "<cputune><vcpupin vcpu='5' cpuset='{cpu}'/></cputune>"


def migrate(source: OspmDomain, destination: OspmDomain) -> None:
    """Have libvirt migrate a guest to the daemon of another domain, with the paths of that daemon's folder."""
    described = source.virsh("dumpxml", "--migratable")
    folder = os.fspath(destination.daemon.folder)
    destination.file.write_text(described.replace(os.fspath(source.daemon.folder), folder), encoding="utf-8")
    target = (destination.daemon.uri, "tcp://127.0.0.1")
    source.virsh("migrate", "--live", "--xml", os.fspath(destination.file), *target)


def orders(guest: OspmDomain) -> dict[str, str]:
    """The order of each enabled vCPU in libvirt's own XML."""
    return dict(re.findall(r"<vcpu id='(\d+)' enabled='yes'[^>]*order='(\d+)'", guest.xml()))


def host_cpus_of(guest: OspmDomain, vcpu: int) -> str:
    """The host CPUs of the thread of a vCPU, by the kernel."""
    (thread,) = [
        cpu["thread-id"]
        for cpu in guest.observer.execute("query-cpus-fast")
        if f"vcpu{vcpu}" in cpu["qom-path"].split("/")
    ]
    status = Path(f"/proc/{guest.pid}/task/{thread}/status").read_text(encoding="ascii")
    return re.findall(r"Cpus_allowed_list:\s*(\S+)", status)[0]


def shown(info: Result) -> dict[str, Any]:
    """What vcpu_info shows of the vCPUs besides what a migration replaces: their threads."""
    return {
        "drift": info["drift"],
        "vcpus": [{key: value for key, value in vcpu.items() if key != "thread_id"} for vcpu in info["vcpus"]],
    }


def test_a_sparse_guest_keeps_order_drift_and_placement_between_two_daemons(
    oldest_ospm_domain: OspmDomains, newest_ospm_domain: OspmDomains
) -> None:
    last = max(os.sched_getaffinity(0))
    options: dict[str, Any] = {
        "name": "moving",
        "uuid": str(uuid.uuid4()),
        "machine": "pc-q35-7.2",
        "rest": PINNED.format(cpu=last),
    }
    source = oldest_ospm_domain(**options)
    destination = newest_ospm_domain(**options, start=False)
    here, there = Vcpu(source), Vcpu(destination)
    # The order of plugs is not that of the ids.
    for vcpu in ("7", "5"):
        assert here(vcpus=[{"id": vcpu, "state": "enabled"}], missing_agent="accept")["changed"] is True
    compared = here.info(destination_uri=destination.daemon.uri)["destination"]
    assert compared["fits"] is False
    assert there(enabled="0-1,5,7")["changed"] is True
    assert here.info(destination_uri=destination.daemon.uri)["destination"] == {"fits": True, "reasons": []}
    before, before_order = here.info(), orders(source)
    assert int(before_order["7"]) < int(before_order["5"])
    assert before["vcpus"][5]["pin"] == host_cpus_of(source, 5) == str(last)

    migrate(source, destination)
    assert source.state == "shut off"
    assert "migrated" in destination.virsh("domstate", "--reason")
    assert observer.enabled_ids(destination.observer) == [0, 1, 5, 7]
    assert orders(destination) == before_order
    assert host_cpus_of(destination, 5) == str(last)
    assert shown(there.info()) == shown(before)
    assert there(enabled="0-1,5,7").steps == []

    destination.ospm.acknowledge_plug("", 6)
    unused = there(vcpus=[{"id": "6", "state": "enabled"}], missing_agent="accept", timeout=1)
    assert unused["error_code"] == "plug_unacknowledged"
    assert "reboot the guest" in unused["msg"]
    assert there(enabled="0-1,7").steps[:2] == ["unplug 6 done", "unplug 5 done"]
    assert observer.enabled_ids(destination.observer) == [0, 1, 7]
