# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests for the tests: booted on demand, and ended after the test in any case."""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from lab import LabError, binaries, booted, image, kvm, packages
from lab.booted import SavedStates
from lab.daemon import Daemon
from lab.domains import LibvirtGuest
from lab.guest import Guest
from lab.ospm import OspmGuest
from lab.ospm_domain import OspmDomain
from lab.software import releases

Boot = Callable[..., Guest]
BootOspm = Callable[..., OspmGuest]
Domains = Callable[..., LibvirtGuest]
OspmDomains = Callable[..., OspmDomain]

# They need the newest QEMU and Linux, or the newest libvirt, and are for `make matrix-real`.
collect_ignore = [] if os.environ.get(binaries.CHOICE) == packages.NEWEST else ["test_architectures.py"]
collect_ignore += [] if os.environ.get("KVM_HOTPLUG_LIBVIRT") == packages.NEWEST else ["test_newest_libvirt.py"]

needs_ppc64 = pytest.mark.skipif(not binaries.qemus("ppc64"), reason="there is no QEMU for ppc64 guests here")
needs_ppc64_linux = pytest.mark.skipif(
    not binaries.qemus("ppc64") or not image.prepared("ppc64"),
    reason="the Linux of ppc64 guests is not here: make real prints why before the tests",
)

# vCPUs 0-3 on node 0, 4-7 on node 1, one to a core; the guest boots with 0 and 1.
TWO_NODES: dict[str, Any] = {
    "smp": "2,sockets=4,cores=2,threads=1,maxcpus=8",
    "numa": [{"sockets": [0, 1]}, {"sockets": [2, 3]}],
}
# The same in a domain.
TWO_CELLS: dict[str, Any] = {
    "topology": {"sockets": 4, "cores": 2, "threads": 1},
    "numa": [{"sockets": [0, 1]}, {"sockets": [2, 3]}],
}

# The config of a guest that does not run, with 2 of 8 vCPUs.
SHUT_OFF = """\
<domain type='qemu'>
  <name>db</name>
  <memory unit='MiB'>256</memory>
  <vcpu current='2'>8</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu><topology sockets='4' cores='2' threads='1'/></cpu>
</domain>
"""


def pytest_report_header() -> str:
    """Say whether there is KVM."""
    return kvm.summary()


@pytest.fixture(scope="session")
def saved_states(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SavedStates]:
    """States of booted guests, which the processes of one test run share."""
    folder = tmp_path_factory.getbasetemp()
    # The folders of pytest-xdist's processes are in that of the run.
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with booted.shared_states(folder / "saved-states") as states:
        yield states


@pytest.fixture
def again(request: pytest.FixtureRequest) -> bool:
    """Whether the test runs for the second time; its guests then boot, as a saved state may have made it fail."""
    return bool(getattr(request.node, "execution_count", 1) > 1)


@pytest.fixture
def boot(tmp_path: Path, saved_states: SavedStates, again: bool) -> Iterator[Boot]:
    """Start guests by the options of ``lab.guest.Guest``; one that can boot is waited for, unless ``ready=False``.

    A guest that is waited for may continue from the saved state of one like it, unless it is to be ``fresh``.
    """
    numbers = itertools.count()
    with contextlib.ExitStack() as guests:

        def start(smp: str, ready: bool = True, fresh: bool = False, **options: Any) -> Guest:
            options = {"smp": smp, **options}
            if not ready or not options.get("boot", True) or options.get("paused"):
                return guests.enter_context(Guest(folder(), **options))
            try:
                if fresh:
                    return begun(Guest(folder(), **options))
                return begun(booted.guest(folder(), saved_states, options, anew=again))
            except LabError as error:
                # Under TCG, QEMU crashes or hangs now and then while a guest boots, before the code under test has any
                # part.
                warnings.warn(f"booting the guest once more: {error}", stacklevel=2)
                return begun(Guest(folder(), **options))

        def begun(guest: Guest) -> Guest:
            guests.enter_context(guest)
            try:
                guest.wait_ready()
            except LabError:
                guest.kill()
                raise
            return guest

        def folder() -> Path:
            return tmp_path / str(next(numbers))

        yield start


@pytest.fixture
def boot_ospm(tmp_path: Path) -> Iterator[BootOspm]:
    """Start guests by the options of ``lab.ospm.OspmGuest``, under KVM where it works unless ``accel`` names another.

    A guest is waited for, unless it is paused, holds at boot or ``ready=False``.
    """
    numbers = itertools.count()
    with contextlib.ExitStack() as guests:

        def start(smp: str, ready: bool = True, accel: str | None = None, **options: Any) -> OspmGuest:
            accel = accel or kvm.accelerator(options.get("qemu"))
            folder = tmp_path / f"ospm-{next(numbers)}"
            guest = guests.enter_context(OspmGuest(folder, smp=smp, accel=accel, **options))
            if ready and guest.speaks:
                guest.wait_ready()
            return guest

        yield start


@pytest.fixture(scope="session", params=releases())
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """Run a libvirtd of our own, once for each version there is."""
    with Daemon(request.param) as found:
        yield found


@pytest.fixture(scope="session")
def oldest_daemon() -> Iterator[Daemon]:
    """Run the oldest libvirtd there is."""
    with Daemon(releases()[0]) as found:
        yield found


@pytest.fixture(scope="session")
def newest_daemon() -> Iterator[Daemon]:
    """Run the newest libvirtd there is."""
    with Daemon(releases()[-1]) as found:
        yield found


@pytest.fixture
def domain(daemon: Daemon, again: bool) -> Iterator[Domains]:
    """Make domains by the options of ``lab.domains.LibvirtGuest``; one that boots is waited for, unless told not to."""
    with _domains(daemon, again) as make:
        yield make


@pytest.fixture
def newest_domain(newest_daemon: Daemon, again: bool) -> Iterator[Domains]:
    """Make domains as ``domain`` does, of the newest libvirtd only."""
    with _domains(newest_daemon, again) as make:
        yield make


@contextlib.contextmanager
def _domains(daemon: Daemon, again: bool) -> Iterator[Domains]:
    numbers = itertools.count()
    with contextlib.ExitStack() as guests:

        def make(ready: bool = True, fresh: bool = False, **options: Any) -> LibvirtGuest:
            options = {"name": f"guest-{next(numbers)}", **options}
            guest = LibvirtGuest(daemon, **options)
            if not ready or not guest.speaks:
                return guests.enter_context(guest)
            try:
                guest = guests.enter_context(guest if fresh else booted.domain(daemon, options, anew=again))
                guest.wait_ready()
            except LabError as error:
                warnings.warn(f"booting the domain once more: {error}", stacklevel=2)
                guest.remove()
                guest = guests.enter_context(LibvirtGuest(daemon, **options))
                guest.wait_ready()
            return guest

        yield make


@pytest.fixture
def ospm_domain(daemon: Daemon) -> Iterator[OspmDomains]:
    """Make domains of OSPM guests by the options of ``lab.ospm_domain.OspmDomain``, as ``boot_ospm`` starts guests."""
    with _ospm_domains(daemon) as make:
        yield make


@pytest.fixture
def oldest_ospm_domain(oldest_daemon: Daemon) -> Iterator[OspmDomains]:
    """Make domains as ``ospm_domain`` does, of the oldest libvirtd only."""
    with _ospm_domains(oldest_daemon) as make:
        yield make


@pytest.fixture
def newest_ospm_domain(newest_daemon: Daemon) -> Iterator[OspmDomains]:
    """Make domains as ``ospm_domain`` does, of the newest libvirtd only."""
    with _ospm_domains(newest_daemon) as make:
        yield make


@contextlib.contextmanager
def _ospm_domains(daemon: Daemon) -> Iterator[OspmDomains]:
    numbers = itertools.count()
    with contextlib.ExitStack() as guests:

        def make(ready: bool = True, accel: str | None = None, **options: Any) -> OspmDomain:
            accel = accel or kvm.domains_accelerator(options.get("qemu"))
            options = {"name": f"ospm-{next(numbers)}", **options}
            guest = guests.enter_context(OspmDomain(daemon, accel=accel, **options))
            if ready and guest.speaks:
                guest.wait_ready()
            return guest

        yield make
