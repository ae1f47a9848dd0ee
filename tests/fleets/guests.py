# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many running OSPM guests, over QMP and over libvirt, as long as the machine has memory for them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab import LabError, kvm
from lab.daemon import Daemon
from lab.ospm import OspmGuest
from lab.ospm_domain import OspmDomain

MAXIMUM = 16
# No guest is started with less memory than this available on the machine, in MiB.
RESERVE = 4096
ONE_BOOTS = (
    f"<vcpu current='1'>{MAXIMUM}</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/>"
    + "".join(f"<vcpu id='{vcpu}' enabled='no' hotpluggable='yes'/>" for vcpu in range(1, MAXIMUM))
    + "</vcpus>"
)


def available() -> float:
    """Return the memory that is available on this machine, in MiB."""
    return _mebibytes(Path("/proc/meminfo"), "MemAvailable")


def _mebibytes(path: Path, wanted: str) -> float:
    """Return a line of a file of the kernel about memory."""
    for line in path.read_text(encoding="ascii").splitlines():
        name, _colon, value = line.partition(":")
        if name == wanted:
            return int(value.split()[0]) / 1024
    raise LabError(f"{path} has no {wanted}")


@contextlib.contextmanager
def direct(folder: Path, count: int) -> Iterator[list[OspmGuest]]:
    """Start this many guests, or as many as there is memory for, that are not managed by libvirt."""
    with contextlib.ExitStack() as stack:
        guests: list[OspmGuest] = []
        report = _Report("QEMU guests not managed by libvirt")
        smp = f"1,sockets={MAXIMUM},cores=1,threads=1,maxcpus={MAXIMUM}"
        while len(guests) < count and available() > RESERVE:
            name = f"g{len(guests)}"
            guest = OspmGuest(folder / name, name=name, accel=kvm.accelerator(), smp=smp)
            guests.append(stack.enter_context(guest))
        for guest in guests:
            guest.wait_ready(60)
        report.end(guests, count)
        yield guests


@contextlib.contextmanager
def domains(release: str, count: int) -> Iterator[list[OspmDomain]]:
    """Start the same as domains of one libvirtd."""
    # All of them end with the daemon, which is faster than one by one.
    with Daemon(release) as daemon:
        guests: list[OspmDomain] = []
        report = _Report(f"domains of libvirt {'.'.join(str(number) for number in daemon.version)}")
        while len(guests) < count and available() > RESERVE:
            guests.append(_domain(daemon, f"g{len(guests)}"))
            guests[-1].make()
        for guest in guests:
            guest.wait_ready(60)
        report.end(guests, count)
        try:
            yield guests
        finally:
            for guest in guests:
                guest.disconnect()


@contextlib.contextmanager
def defined(release: str, count: int) -> Iterator[tuple[Daemon, list[str]]]:
    """Define this many domains that are shut off, and return their libvirtd and their names."""
    with Daemon(release) as daemon:
        names = [f"g{number}" for number in range(count)]
        for name in names:
            _domain(daemon, name, start=False).make()
        yield daemon, names


def _domain(daemon: Daemon, name: str, **options: Any) -> OspmDomain:
    topology = {"sockets": MAXIMUM, "cores": 1, "threads": 1}
    accel = kvm.domains_accelerator()
    return OspmDomain(daemon, accel=accel, name=name, vcpus=ONE_BOOTS, topology=topology, **options)


class _Report:
    """What it costs to start guests, in seconds and in memory; each has its share of what they share."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._began = time.monotonic()

    def end(self, guests: Sequence[OspmGuest | OspmDomain], wanted: int) -> None:
        seconds = time.monotonic() - self._began
        memory = sum(_mebibytes(Path(f"/proc/{guest.pid}/smaps_rollup"), "Pss") for guest in guests) / len(guests)
        print(f"{len(guests)} of {wanted} {self._kind} run: {seconds:.0f} s, {memory:.0f} MiB each", flush=True)
