# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sparse guest migrates to the destination that was said to fit, and what does not fit is said before."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from lab import observer
from lab.migration import migrate
from lab.ospm import OspmGuest
from lab.ospm_domain import OspmDomain

from .conftest import TWO_NODES, BootOspm, OspmDomains
from .support.modules import Result, Vcpu, run_module

SMP = TWO_NODES["smp"]


def destination(boot_ospm: BootOspm, smp: str, devices: list[str], **options: Any) -> OspmGuest:
    return boot_ospm(smp, incoming=True, extra=devices, **options)


def migrates_after_unplug(source: OspmGuest) -> bool:
    """Under TCG, a QEMU before 11 from which a vCPU was unplugged waits for that vCPU when it migrates."""
    return source.accel == "kvm" or source.qemu.version >= (11,)


def compared(source: OspmGuest, waiting: OspmGuest) -> dict[str, Any]:
    """Return whether they fit."""
    info = Vcpu(source).info(destination_qmp_socket=waiting.qmp_socket)
    return dict(info["destination"])


def test_a_sparse_guest_migrates_to_what_fits_and_to_nothing_else(boot_ospm: BootOspm, tmp_path: Path) -> None:
    source = boot_ospm(SMP)
    vcpu = Vcpu(source)
    for vcpus in ({"id": "7", "state": "enabled"}, {"id": "4", "state": "enabled"}, {"id": "1", "state": "disabled"}):
        if vcpus["state"] == "enabled" or migrates_after_unplug(source):
            assert vcpu(vcpus=[vcpus])["changed"] is True
    enabled = observer.enabled_ids(source.observer)
    assert enabled in ([0, 4, 7], [0, 1, 4, 7])
    arguments = vcpu.info()["migration"]["destination_args"]
    assert arguments[0] == "-smp"
    smp, devices = arguments[1], arguments[2:]

    # Each differs in one thing; QEMU would find out too late, or never.
    extra = devices[1].replace("vcpu4", "vcpu5").replace("core-id=0", "core-id=1")
    for started, said in (
        ({"smp": smp, "devices": devices[:-2]}, "vCPU 7 is enabled, and disabled at the destination"),
        ({"smp": smp, "devices": [*devices, "-device", extra]}, "vCPU 5 is disabled, and enabled at the destination"),
        ({"smp": smp.replace("=8", "=10").replace("sockets=4", "sockets=5"), "devices": devices}, "maximum is 8 vCPUs"),
        ({"smp": smp, "devices": devices, "machine": "pc-q35-6.2"}, "that of the destination is pc-q35-6.2"),
    ):
        other = destination(boot_ospm, **started)
        verdict = compared(source, other)
        assert verdict["fits"] is False
        assert len(verdict["reasons"]) == 1, verdict
        assert said in verdict["reasons"][0]
        other.kill()

    waiting = destination(boot_ospm, smp, devices)
    assert compared(source, waiting) == {"fits": True, "reasons": []}
    migrate(source.observer, waiting.observer, tmp_path / "migration")
    assert observer.enabled_ids(waiting.observer) == enabled
    moved = Vcpu(waiting)
    changed = [{"id": "6", "state": "enabled"}, {"id": "4", "state": "disabled"}]
    steps = moved.converges([*enabled[:-2], 6, 7], vcpus=changed).steps
    assert steps == ["plug 6 done", "unplug 4 done"]
    assert "runs a guest already" in " ".join(compared(source, waiting)["reasons"])


def test_a_destination_that_cannot_be_observed_is_the_guests_failure(boot_ospm: BootOspm, tmp_path: Path) -> None:
    source = boot_ospm(SMP, paused=True)
    options = {"qmp_socket": source.qmp_socket, "destination_qmp_socket": str(tmp_path / "none")}
    result = run_module("kvm.hotplug.vcpu_info", **options)
    assert result["error_code"] == "monitor_unreachable"
    assert "the destination cannot be observed" in result["msg"]


def test_a_libvirt_guest_is_compared_with_its_definition_at_another_daemon(
    oldest_ospm_domain: OspmDomains, newest_ospm_domain: OspmDomains
) -> None:
    options: dict[str, Any] = {"name": "moved", "uuid": str(uuid.uuid4()), "machine": "pc-q35-7.2"}
    source = newest_ospm_domain(**options)
    there = oldest_ospm_domain(**options, start=False)
    vcpu = Vcpu(source)
    assert vcpu.info(destination_uri=there.daemon.uri)["destination"] == {"fits": True, "reasons": []}
    vcpu.converges([0, 1, 5], vcpus=[{"id": "5", "state": "enabled"}], missing_agent="accept")
    for listed in (vcpu.info(destination_uri=there.daemon.uri), all_at(source, there)):
        assert listed["destination"]["fits"] is False
        assert "vCPU 5 is enabled" in listed["destination"]["reasons"][0]
    there.undefine()
    lost = run_module(
        "kvm.hotplug.vcpu_info", client=source.daemon, uri=source.daemon.uri, destination_uri=there.daemon.uri
    )
    assert [failed["error_code"] for failed in lost["failed_guests"]] == ["guest_not_found"]


def all_at(source: OspmDomain, there: OspmDomain) -> Result:
    """The guest among all guests of its daemon."""
    result = run_module(
        "kvm.hotplug.vcpu_info", client=source.daemon, uri=source.daemon.uri, destination_uri=there.daemon.uri
    )
    (found,) = [guest for guest in result["guests"] if guest["guest"]["name"] == source.name]
    return Result(found)
