# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unplugs that libvirt does not wait for, since 12.4; only `make matrix-real` runs this file."""

from __future__ import annotations

import os
import subprocess
import threading

from lab import observer, packages
from lab.daemon import Daemon
from lab.ospm_domain import OspmDomain

from .conftest import OspmDomains
from .support.modules import Vcpu
from .test_libvirt_failures import THREE_GO

# Print the vCPU of the first event vcpu-removed of a domain.
LISTENER = """\
import sys, libvirt
libvirt.virEventRegisterDefaultImpl()
connection = libvirt.open(sys.argv[1])
removed = []
connection.domainEventRegisterAny(
    connection.lookupByName(sys.argv[2]),
    libvirt.VIR_DOMAIN_EVENT_ID_VCPU_REMOVED,
    lambda _connection, _domain, vcpu, _opaque: removed.append(vcpu),
    None,
)
print("listening", flush=True)
while not removed:
    libvirt.virEventRunDefaultImpl()
print(*removed)
"""


def listener(daemon: Daemon, guest: OspmDomain) -> subprocess.Popen[str]:
    command = [daemon.python, "-c", LISTENER, daemon.uri, guest.name]
    return subprocess.Popen(command, env={**os.environ, **daemon.environment}, stdout=subprocess.PIPE, text=True)


def test_libvirt_does_not_hold_the_domain_during_an_unplug_and_reports_its_end(
    newest_ospm_domain: OspmDomains, newest_daemon: Daemon
) -> None:
    assert newest_daemon.release == packages.NEWEST
    guest = newest_ospm_domain(**THREE_GO)
    guest.ospm.hold(3)
    with listener(newest_daemon, guest) as events:
        assert events.stdout is not None
        assert events.stdout.readline() == "listening\n"

        def plug_and_release() -> None:
            guest.ospm.wait("unplug 3", timeout=60)
            # An older libvirt would refuse this for as long as it waits for the guest.
            guest.virsh("setvcpu", "6", "--enable", "--live")
            guest.ospm.release()

        other = threading.Thread(target=plug_and_release)
        other.start()
        result = Vcpu(guest)(vcpus=[{"id": "3", "state": "disabled"}], scope="live")
        other.join()
        assert events.communicate(timeout=30)[0] == "3\n"
    assert (result.get("msg"), result.steps) == (None, ["unplug 3 done"])
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 6]
