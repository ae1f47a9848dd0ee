# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guests of the campaigns, and what is seen of them from outside: by raw QMP, by virsh and in the file."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lab import kvm, observer
from lab.daemon import Daemon
from lab.ospm import OspmGuest
from lab.ospm_domain import OspmDomain

# Only the first ones are plugged; under TCG, a QEMU can plug only as many, in its life, as were free at its boot.
MAXIMUM = 32
PLUGGED = range(1, 8)
# A request that a run has left is carried out within milliseconds; this is how long nothing more may change.
CALM_SECONDS = 0.15
DOMAIN = """\
<?xml version='1.0' encoding='UTF-8'?>
<!-- kept as it is -->
<domain type='kvm'>
  <name>lab</name>
  <title>{title}</title>
  <memory unit='MiB'>32</memory>
  <vcpu placement='static' current='1'>32</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu><topology sockets='32' cores='1' threads='1'/></cpu>
</domain>
"""
ONE_BOOTS = (
    f"<vcpu current='1'>{MAXIMUM}</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/>"
    + "".join(f"<vcpu id='{vcpu}' enabled='no' hotpluggable='yes'/>" for vcpu in range(1, MAXIMUM))
    + "</vcpus>"
)


class Seen(NamedTuple):
    """A guest from outside: the enabled vCPUs now and at the next boot, and the text of its config."""

    live: frozenset[int]
    config: frozenset[int]
    text: str

    @property
    def enabled(self) -> tuple[frozenset[int], frozenset[int]]:
        return self.live, self.config


class Subject(Protocol):
    """A running guest whose vCPUs 1 to 7 can be plugged and unplugged; ``source`` are the options that name it."""

    source: Mapping[str, Any]
    client: Daemon | None

    def seen(self) -> Seen:
        """Observe it from outside."""

    def leftovers(self) -> list[str]:
        """What a run has left behind that no later run needs."""


class Direct:
    """A QEMU guest that is not managed by libvirt, with its config in a file."""

    client: Daemon | None = None

    def __init__(self, folder: Path, guest: OspmGuest) -> None:
        self.guest = guest
        self.folder = folder / "config"
        self.folder.mkdir()
        self.file = self.folder / "lab.xml"
        self.file.write_text(DOMAIN.format(title="first"), encoding="utf-8")
        self.source = {"qmp_socket": guest.qmp_socket, "domain_xml": str(self.file), "probe": "never"}

    def seen(self) -> Seen:
        text = self.file.read_text(encoding="utf-8")
        return Seen(frozenset(observer.enabled_ids(self.guest.observer)), enabled_in(text), text)

    def leftovers(self) -> list[str]:
        files = sorted(path.name for path in self.folder.iterdir() if path != self.file)
        labels = [entry["label"] for entry in self.guest.observer.execute("query-chardev")]
        noted = [int(label.split(".")[2]) for label in labels if label.startswith("kvm-hotplug.unplug.")]
        return files + _valid_or_double(noted, frozenset(observer.enabled_ids(self.guest.observer)))


class Domain:
    """A domain of libvirt."""

    def __init__(self, guest: OspmDomain) -> None:
        self.guest = guest
        self.client: Daemon | None = guest.daemon
        self.source = {"name": guest.name, "uri": guest.daemon.uri}

    def seen(self) -> Seen:
        text = self.guest.xml(inactive=True)
        return Seen(frozenset(observer.enabled_ids(self.guest.observer)), enabled_in(text), text)

    def leftovers(self) -> list[str]:
        xml = self.guest.xml()
        enabled, live = enabled_in(xml), frozenset(observer.enabled_ids(self.guest.observer))
        stale = [] if enabled == live else [f"libvirt shows {sorted(enabled)}, QEMU {sorted(live)}"]
        noted = [int(vcpu) for vcpu in re.findall(r"urn:kvm-hotplug:unplug:[a-z]+:(\d+):", xml)]
        return stale + _valid_or_double(noted, live)


def _valid_or_double(noted: list[int], live: frozenset[int]) -> list[str]:
    """Report notes of unplugs that affect later runs, or that accumulate.

    A killed run may leave the note of an unplug that was carried out; it ends with the next plug of that vCPU.
    """
    affecting = [f"a note of the unplug of vCPU {vcpu}" for vcpu in noted if vcpu in live]
    return affecting + [f"{noted.count(vcpu)} notes of vCPU {vcpu}" for vcpu in set(noted) if noted.count(vcpu) > 1]


def enabled_in(text: str) -> frozenset[int]:
    """The enabled vCPUs of a domain XML, which has to be whole and consistent."""
    try:
        root = ET.fromstring(text.encode())
    except ET.ParseError as error:
        raise AssertionError(f"the domain XML is torn ({error}): {text!r}") from None
    count = root.find("vcpu")
    assert count is not None, text
    assert count.text is not None, text
    current = int(count.attrib.get("current", count.text))
    states = {int(vcpu.attrib["id"]): vcpu.attrib["enabled"] for vcpu in root.iterfind("vcpus/vcpu")}
    enabled = frozenset(vcpu for vcpu, state in states.items() if state == "yes") if states else range(current)
    assert len(enabled) == current, f"{len(enabled)} vCPUs are enabled, current is {current}"
    return frozenset(enabled)


def calm(subject: Subject) -> Seen:
    """Return what is seen of a guest once it has carried out what a run has left."""
    seen = subject.seen()
    since = time.monotonic()
    deadline = since + 10
    while time.monotonic() - since < CALM_SECONDS:
        assert time.monotonic() < deadline, "the guest does not come to rest"
        time.sleep(0.01)
        now = subject.seen()
        if now != seen:
            seen, since = now, time.monotonic()
    return seen


@contextlib.contextmanager
def direct(folder: Path, **options: Any) -> Iterator[Direct]:
    """Start a QEMU guest that is not managed by libvirt, in a folder that is removed at its end."""
    folder.mkdir(parents=True)
    smp = f"1,sockets={MAXIMUM},cores=1,threads=1,maxcpus={MAXIMUM}"
    with contextlib.ExitStack() as at_end:
        at_end.callback(shutil.rmtree, folder)
        guest = at_end.enter_context(OspmGuest(folder, smp=smp, accel=kvm.accelerator(), **options))
        guest.wait_ready()
        yield Direct(folder, guest)


@contextlib.contextmanager
def domain(daemon: Daemon, name: str = "lab", **options: Any) -> Iterator[Domain]:
    """Start a domain."""
    topology = {"sockets": MAXIMUM, "cores": 1, "threads": 1}
    accel = kvm.domains_accelerator()
    with OspmDomain(daemon, accel=accel, name=name, vcpus=ONE_BOOTS, topology=topology, **options) as guest:
        guest.wait_ready()
        yield Domain(guest)
