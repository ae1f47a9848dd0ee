# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Remote hypervisors: libvirt over ssh and TLS, Ansible over ssh, and hosts that do not reply."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import certificates, observer, sasl, unprivileged_user
from lab.daemon import Daemon
from lab.ospm_domain import OspmDomain
from lab.software import releases
from lab.sshd import Sshd

from .conftest import OspmDomains
from .support.modules import COLLECTIONS, PATIENCE, Result, Vcpu, run_module
from .support.remote_peers import counting_peer, dropping_peer, silent_peer
from .test_libvirt_failures import THREE_GO

Peer = Callable[[], "contextlib.AbstractContextManager[int]"]

PLAYBOOK = """\
- hosts: hypervisor
  gather_facts: false
  tasks:
    - name: Look at the guest
      kvm.hotplug.vcpu_info:
        name: "{{ guest }}"
        uri: "{{ uri }}"
      register: found
    - name: Enable two more
      kvm.hotplug.vcpu:
        name: "{{ guest }}"
        uri: "{{ uri }}"
        enabled: 0-5
        scope: live
    - name: Disable one in a batch
      kvm.hotplug.vcpu_batch:
        guests:
          - name: "{{ guest }}"
            uri: "{{ uri }}"
            enabled: 0-4
            scope: live
    - name: Check what was found at first
      ansible.builtin.assert:
        that: found.guests[0].vcpus | selectattr('live', 'equalto', 'enabled') | length == 4
"""


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    with Sshd() as found:
        yield found


def uri_by_ssh(sshd: Sshd, daemon: Daemon) -> str:
    """Return the uri of a libvirtd at the other end of ssh, which the sessions can then find."""
    sshd.add_program(
        "virt-ssh-helper",
        daemon.software.command("usr/bin/virt-ssh-helper"),
        {**daemon.software.tree.environment, "XDG_RUNTIME_DIR": os.fspath(daemon.runtime)},
    )
    return f"qemu+ssh://{sshd.user}@127.0.0.1:{sshd.port}/session?command={sshd.ssh}&keyfile={sshd.key}"


def at(uri: str, guest: OspmDomain) -> Vcpu:
    """Return the module for a guest at another uri than that of its local libvirtd."""
    vcpu = Vcpu(guest)
    vcpu.source["uri"] = uri
    return vcpu


def processes_with(word: str) -> list[str]:
    """Return the command lines that have a word among their arguments, after a moment for those that are ending."""
    deadline = time.monotonic() + 5
    while True:
        found = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                words = process.read_text(errors="replace").split("\0")
                found += [" ".join(words)] if word in words else []
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_a_guest_is_managed_over_ssh(ospm_domain: OspmDomains, daemon: Daemon, sshd: Sshd) -> None:
    guest = ospm_domain(vcpus="<vcpu current='2'>8</vcpu>")
    vcpu = at(uri_by_ssh(sshd, daemon), guest)
    plugged = vcpu(enabled="0-1,4,6", scope="live")
    assert (plugged.get("msg"), plugged.steps) == (None, ["plug 4 done", "plug 6 done"])
    unplugged = vcpu(enabled="0-1,6", scope="live")
    assert (unplugged.get("msg"), unplugged.steps) == (None, ["unplug 4 done"])
    assert vcpu(enabled="0-1,6", scope="live")["changed"] is False
    assert observer.enabled_ids(guest.observer) == vcpu.info().enabled("live") == [0, 1, 6]


def test_a_guest_is_managed_over_tls() -> None:
    with Daemon(tls=True) as daemon, OspmDomain(daemon, accel="tcg", vcpus="<vcpu current='2'>4</vcpu>") as guest:
        guest.wait_ready()
        vcpu = at(daemon.tls_uri, guest)
        plugged = vcpu(enabled="0-1,3", scope="live")
        assert (plugged.get("msg"), plugged.steps) == (None, ["plug 3 done"])
        assert observer.enabled_ids(guest.observer) == vcpu.info().enabled("live") == [0, 1, 3]


def test_ansible_manages_the_guests_of_a_hypervisor_over_ssh(
    newest_ospm_domain: OspmDomains, newest_daemon: Daemon, sshd: Sshd, tmp_path: Path
) -> None:
    guest = newest_ospm_domain(**THREE_GO)
    hypervisor = {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_ssh_executable": str(sshd.ssh),
        # No process of ssh is to stay, and this sshd has no right to make terminals.
        "ansible_ssh_args": "-o ControlMaster=no",
        "ansible_ssh_use_tty": False,
        "ansible_ssh_transfer_method": "piped",
        "ansible_python_interpreter": newest_daemon.python,
        "guest": guest.name,
        "uri": newest_daemon.uri,
    }
    inventory, playbook = tmp_path / "inventory.json", tmp_path / "playbook.yml"
    inventory.write_text(json.dumps({"all": {"hosts": {"hypervisor": hypervisor}}}))
    environment = json.dumps(newest_daemon.environment)
    playbook.write_text(PLAYBOOK.replace("  gather_facts:", f"  environment: {environment}\n  gather_facts:"))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "--inventory", str(inventory), str(playbook)],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=2 " in done.stdout, done.stdout
    assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("peer", [silent_peer, dropping_peer])
def test_a_libvirt_host_that_does_not_reply_is_unreachable_in_time(
    newest_daemon: Daemon, sshd: Sshd, tmp_path: Path, peer: Peer
) -> None:
    certificates.make(tmp_path)

    def run(uri: str) -> Result:
        return run_module("kvm.hotplug.vcpu", client=newest_daemon, uri=uri, name="web1", count=2, timeout=2)

    with peer() as port, ThreadPoolExecutor() as pool:
        uris = (
            f"qemu+ssh://root@127.0.0.1:{port}/system?no_verify=1&command={sshd.ssh}&keyfile={sshd.key}",
            f"qemu+tls://127.0.0.1:{port}/system?pkipath={tmp_path}",
            f"qemu+tcp://127.0.0.1:{port}/system",
        )
        for result in pool.map(run, uris):
            assert result["error_code"] == "monitor_unreachable", result
            assert "within 2 s" in result["msg"], result
        assert processes_with(str(port)) == []


def test_the_guests_of_a_batch_wait_once_for_a_host_that_does_not_reply(newest_daemon: Daemon) -> None:
    with counting_peer() as (port, connections):
        guests = [{"name": f"web{number}", "uri": f"qemu+tcp://127.0.0.1:{port}/system"} for number in range(20)]
        result = run_module(
            "kvm.hotplug.vcpu_batch",
            client=newest_daemon,
            guests=guests,
            defaults={"count": 2, "timeout": 2},
            max_concurrency=4,
        )
        assert connections() == 1
    assert {guest["error_code"] for guest in result["guests"]} == {"monitor_unreachable"}


@pytest.mark.parametrize(("peer", "code"), [(silent_peer, "monitor_busy"), (dropping_peer, "monitor_unreachable")])
def test_a_monitor_at_a_host_that_does_not_reply_fails_in_time(peer: Peer, code: str) -> None:
    with peer() as port:
        result = run_module("kvm.hotplug.vcpu", qmp_socket=f"127.0.0.1:{port}", count=2, timeout=2)
    assert (result["error_code"], result["changed"]) == (code, False), result


def unplugs_until(lose: Callable[[], None], guest: OspmDomain, daemon: Daemon, sshd: Sshd) -> Result:
    """Request an unplug over ssh that the guest does not answer, and return the result."""
    guest.ospm.acknowledge_nothing()

    def lose_at_the_request() -> None:
        guest.ospm.wait("unplug 3", timeout=30)
        lose()

    losing = threading.Thread(target=lose_at_the_request)
    losing.start()
    try:
        return at(uri_by_ssh(sshd, daemon), guest)(enabled="0-2", scope="live", timeout=5)
    finally:
        losing.join()


def test_an_ssh_that_is_killed_in_the_middle_of_an_unplug_is_a_lost_connection(
    newest_ospm_domain: OspmDomains, newest_daemon: Daemon
) -> None:
    with Sshd() as own:

        def restart() -> None:
            own.signal(signal.SIGKILL)
            own.start()

        result = unplugs_until(restart, newest_ospm_domain(**THREE_GO), newest_daemon, own)
    # The state is that after the connection was made again.
    assert (result["error_code"], result["changed"]) == ("connection_lost", False), result
    assert result.enabled("live") == [0, 1, 2, 3]


def test_a_host_that_falls_silent_in_the_middle_of_an_unplug_is_a_lost_connection(
    newest_ospm_domain: OspmDomains, newest_daemon: Daemon
) -> None:
    with Sshd() as own:
        guest = newest_ospm_domain(**THREE_GO)
        # libvirt takes 25 s to notice.
        result = unplugs_until(lambda: own.signal(signal.SIGSTOP), guest, newest_daemon, own)
    assert (result["error_code"], result["changed"]) == ("connection_lost", True), result


def test_a_daemon_that_asks_for_a_name_and_a_password_gets_those_of_the_auth_file(tmp_path: Path) -> None:
    with (
        Daemon(releases()[-1], credentials=("web", "secret")) as daemon,
        OspmDomain(daemon, accel="tcg", **THREE_GO) as guest,
    ):
        guest.wait_ready()
        wrong = sasl.auth_file(tmp_path / "wrong.conf", "web", "guess")
        for uri in (daemon.uri, f"{daemon.uri}&authfile={wrong}"):
            refused = at(uri, guest)(enabled="0-4", scope="live")
            assert (refused["error_code"], refused["changed"]) == ("monitor_unreachable", False), refused
            assert "check the name and the password in libvirt's auth.conf" in refused["msg"]
        assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]
        vcpu = at(f"{daemon.uri}&authfile={sasl.auth_file(tmp_path / 'right.conf', 'web', 'secret')}", guest)
        done = vcpu(enabled="0-4", scope="live")
        assert (done.get("msg"), done.steps) == (None, ["plug 4 done"])
        assert observer.enabled_ids(guest.observer) == vcpu.info().enabled("live") == [0, 1, 2, 3, 4]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of several users")
def test_an_unprivileged_user_may_do_what_libvirts_socket_permits() -> None:
    # libvirt looks the names of its clients up: bin and sys are users of every Debian.
    group = unprivileged_user.UNPRIVILEGED
    with (
        Daemon(releases()[-1], for_group=True) as daemon,
        OspmDomain(daemon, accel="tcg", **THREE_GO) as guest,
        Sshd(uid=2, gid=group) as member,
        Sshd(uid=3, gid=3) as outsider,
    ):
        guest.wait_ready()
        refused = at(uri_by_ssh(outsider, daemon), guest)(enabled="0-4", scope="live")
        assert (refused["error_code"], refused["changed"]) == ("monitor_unreachable", False), refused
        assert observer.enabled_ids(guest.observer) == [0, 1, 2, 3]
        done = at(uri_by_ssh(member, daemon), guest)(enabled="0-2,4", scope="live")
        assert (done.get("msg"), done.steps) == (None, ["plug 4 done", "unplug 3 done"])
        assert observer.enabled_ids(guest.observer) == [0, 1, 2, 4]
