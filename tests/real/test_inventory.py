# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory plugin with a real libvirt and real monitors, and plays that delegate to their hypervisors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from lab import observer
from lab.daemon import Daemon
from lab.software import bindings, releases

from .conftest import TWO_CELLS, TWO_NODES, Boot, Domains
from .support.modules import COLLECTIONS, PATIENCE

# Of no network: the ssh below answers for it.
FAR = "kvm1.test"

# What ssh runs on its host, this runs here; it keeps what it was called with.
SSH = f"""\
#!{sys.executable}
import os, sys
words = sys.argv[1:]
with open(__file__ + ".log", "a") as log:
    print(*words, file=log)
if {FAR!r} in words:
    os.execvp("sh", ["sh", "-c", " ".join(words[words.index({FAR!r}) + 1 :])])
"""

# libvirt gets from its ssh to the daemon's socket by netcat.
NETCAT = f"""\
#!{sys.executable}
import os, select, socket, sys
if "-U" not in sys.argv:
    sys.exit(1)
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[-1])
while True:
    readable, _, _ = select.select([0, peer], [], [])
    if peer in readable:
        data = peer.recv(65536)
        if not data:
            break
        os.write(1, data)
    if 0 in readable:
        data = os.read(0, 65536)
        if not data:
            break
        peer.sendall(data)
"""

BY_ITSELF = """\
- hosts: guests
  gather_facts: false
  module_defaults:
    group/kvm.hotplug.vcpu: "{{ kvm_hotplug_options }}"
  tasks:
    - kvm.hotplug.vcpu:
        vcpus:
          - id: 6
            state: enabled
      delegate_to: "{{ kvm_hotplug_hypervisor }}"
"""

AS_A_BATCH = """\
- hosts: hypervisors
  gather_facts: false
  tasks:
    - kvm.hotplug.vcpu_batch:
        guests: "{{ kvm_hotplug_guests | map('extract', hostvars, 'kvm_hotplug_options') }}"
        defaults:
          count: 5
"""


class Controller:
    """Ansible's commands with an inventory of guests, and with the bindings that its Python needs."""

    def __init__(self, folder: Path, daemon: Daemon | None = None) -> None:
        self.file = folder / "lab.guests.yml"
        self.log = folder / "ssh.log"
        self._environment = {
            **os.environ,
            **({} if daemon is None else daemon.environment),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1",
            "ANSIBLE_DEPRECATION_WARNINGS": "1",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_EXECUTABLE": str(folder / "ssh"),
        }
        for name, script in (("ssh", SSH), ("nc", NETCAT)):
            (folder / name).write_text(script, encoding="utf-8")
            (folder / name).chmod(0o755)

    def describe(self, **options: Any) -> None:
        """Write the inventory's file."""
        self.file.write_text(yaml.safe_dump({"plugin": "kvm.hotplug.guests", **options}), encoding="utf-8")

    def run(self, verb: str, *words: str, before: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of Ansible's; ``before`` is another inventory source that is read first."""
        sources = [option for source in (before, self.file) if source for option in ("--inventory", str(source))]
        command = [sys.executable, "-m", "ansible", verb, *sources, *words]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert "Traceback" not in done.stdout + done.stderr
        assert "DEPRECATION" not in done.stdout + done.stderr
        return done

    def list(self) -> dict[str, Any]:
        """Return what ``ansible-inventory --list`` prints."""
        done = self.run("inventory", "--list")
        assert done.returncode == 0, done.stderr
        return read(done.stdout)

    def play(self, playbook: str, *words: str) -> str:
        """Run a playbook and return what it printed; it must not fail."""
        path = self.file.with_name("playbook.yml")
        path.write_text(playbook, encoding="utf-8")
        done = self.run("playbook", *words, str(path))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def read(listed: str) -> dict[str, Any]:
    """Return a list of ``ansible-inventory``, which marks strings that are no templates."""
    found: dict[str, Any] = json.loads(listed, object_hook=lambda one: one.get("__ansible_unsafe", one))
    return found


def members(found: Mapping[str, Any]) -> dict[str, list[str]]:
    """The hosts of each group that has any."""
    return {name: sorted(group["hosts"]) for name, group in found.items() if group.get("hosts") and name != "_meta"}


@pytest.fixture
def daemon_here(newest_daemon: Daemon) -> Daemon:
    """A libvirtd whose bindings fit the Python of these tests, which is the controller's."""
    if not bindings(releases()[-1]):
        pytest.skip("libvirt's bindings are for another Python than the controller's")
    return newest_daemon


def test_all_guests_of_a_host(daemon_here: Daemon, newest_domain: Domains, boot: Boot, tmp_path: Path) -> None:
    db = newest_domain(name="db", paused=True, boot=False, **TWO_CELLS)
    off = newest_domain(name="web1", start=False, boot=False, vcpus="<vcpu current='4'>8</vcpu>")
    web1, web2 = (boot(name=name, paused=True, boot=False, **TWO_NODES) for name in ("web1", "web2"))
    controller = Controller(tmp_path, daemon_here)
    controller.describe(
        uris=[{"uri": daemon_here.uri, "hypervisor": "kvm0"}],
        qmp_sockets=[f"{tmp_path}/*/qmp.sock"],
        keyed_groups=[{"key": "kvm_hotplug.guest.arch", "prefix": "arch"}],
        compose={"maximum": "kvm_hotplug.guest.max_vcpus"},
        cache=True,
        cache_plugin="jsonfile",
        cache_connection=str(tmp_path / "cache"),
    )
    found = controller.list()
    assert members(found) == {
        "guests": ["db", "kvm0_web1", "localhost_web1", "web2"],
        "hypervisors": ["kvm0", "localhost"],
        "hypervisor_kvm0": ["db", "kvm0_web1"],
        "hypervisor_localhost": ["localhost_web1", "web2"],
        "state_paused": ["db", "localhost_web1", "web2"],
        "state_shutoff": ["kvm0_web1"],
        "arch_x86_64": ["db", "kvm0_web1", "localhost_web1", "web2"],
    }
    told = found["_meta"]["hostvars"]
    assert told["db"]["kvm_hotplug"]["guest"]["uuid"] == db.uuid
    assert told["kvm0_web1"]["kvm_hotplug_options"] == {"name": off.name, "uri": daemon_here.uri}
    assert told["web2"]["kvm_hotplug_options"] == {"qmp_socket": web2.qmp_socket}
    assert int(told["web2"]["maximum"]) == 8

    # A desired state for each guest, delegated: predicted and then applied, as QEMU and libvirt themselves say.
    guests = [db, web1, web2]
    assert "changed=1" in controller.play(BY_ITSELF, "--check")
    assert [observer.enabled_ids(guest.observer) for guest in guests] == [[0, 1]] * 3
    played = controller.play(BY_ITSELF)
    assert played.count("changed=1") == 4
    assert [observer.enabled_ids(guest.observer) for guest in guests] == [[0, 1, 6]] * 3
    assert "<vcpu id='6' enabled='yes'" in off.xml(inactive=True)

    # The cache still has what was seen first, until somebody wants it anew. Nothing is left to do then.
    assert controller.list() == found
    assert controller.play(BY_ITSELF, "--flush-cache").count("changed=0") == 4
    assert members(controller.list())["sparse"] == ["db", "kvm0_web1", "localhost_web1", "web2"]


def test_a_batch_for_each_hypervisor(daemon_here: Daemon, newest_domain: Domains, boot: Boot, tmp_path: Path) -> None:
    guests = [newest_domain(paused=True, boot=False), boot(paused=True, boot=False, **TWO_NODES)]
    controller = Controller(tmp_path, daemon_here)
    uris = [{"uri": daemon_here.uri, "hypervisor": "kvm0"}]
    controller.describe(uris=uris, qmp_sockets=[f"{tmp_path}/*/qmp.sock"])
    assert controller.play(AS_A_BATCH).count("changed=1") == 2
    assert [observer.enabled_ids(guest.observer) for guest in guests] == [[0, 1, 2, 3, 4]] * 2


def test_guests_named_like_groups_and_folders_replace_neither(boot: Boot, tmp_path: Path) -> None:
    names = ["hypervisors", "all", "state_paused", "webservers", "localhost", "..", "web1.yml"]
    guests = [boot(name=name, paused=True, boot=False, memory=64, smp="1,maxcpus=2") for name in names]
    controller = Controller(tmp_path)
    controller.describe(qmp_sockets=[guest.qmp_socket for guest in guests])
    (tmp_path / "hosts.ini").write_text("[webservers]\nweb1\n", encoding="utf-8")
    (tmp_path / "secret.yml").write_text("secret: of the inventory's folder\n", encoding="utf-8")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "web1.yml").write_text("secret: of web1\n", encoding="utf-8")
    done = controller.run("inventory", "--list", before=tmp_path / "hosts.ini")
    assert "same name" not in done.stderr
    found = read(done.stdout)
    hosts = ["_.", "localhost_all", "localhost_hypervisors", "localhost_localhost", "localhost_state_paused"]
    assert members(found)["guests"] == [*hosts, "localhost_webservers", "web1_yml"]
    assert (members(found)["hypervisors"], members(found)["webservers"]) == (["localhost"], ["web1"])
    having = [host for host, variables in found["_meta"]["hostvars"].items() if "secret" in variables]
    assert having == ["web1"]
    played = controller.play("- hosts: hypervisors\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {}}]\n")
    assert re.findall(r"^ok: \[(.*)\]", played, re.MULTILINE) == ["localhost"]


def test_a_remote_hypervisor_by_ssh(daemon_here: Daemon, newest_domain: Domains, tmp_path: Path) -> None:
    guest = newest_domain(paused=True, boot=False)
    controller = Controller(tmp_path, daemon_here)
    socket = urlsplit(daemon_here.uri).query
    far = f"qemu+ssh://root@{FAR}/session?{socket}&command={tmp_path}/ssh&netcat={tmp_path}/nc&mode=legacy"
    controller.describe(uris=[far])
    found = controller.list()
    assert members(found)["hypervisor_kvm1_test"] == [guest.name]
    told = found["_meta"]["hostvars"]
    assert told[guest.name]["kvm_hotplug_options"] == {"name": guest.name, "uri": f"qemu:///session?{socket}"}
    assert (told[FAR]["ansible_host"], told[FAR]["ansible_user"]) == (FAR, "root")
    controller.log.unlink()
    assert "changed=1" in controller.play(BY_ITSELF, "--extra-vars", f"ansible_python_interpreter={daemon_here.python}")
    assert "ControlMaster" in controller.log.read_text()
    assert observer.enabled_ids(guest.observer) == [0, 1, 6]


def test_a_libvirt_that_is_down_does_not_hide_other_guests(daemon_here: Daemon, boot: Boot, tmp_path: Path) -> None:
    web1 = boot(name="web1", paused=True, boot=False, **TWO_NODES)
    options: dict[str, Any] = {"uris": ["qemu:///session?socket=/nowhere"], "qmp_sockets": [web1.qmp_socket]}
    controller = Controller(tmp_path, daemon_here)
    controller.describe(**options)
    done = controller.run("inventory", "--list")
    assert members(read(done.stdout))["guests"] == ["web1"]
    assert "cannot connect to libvirt" in done.stderr
    controller.describe(**options, unreachable="fail")
    done = controller.run("inventory", "--list")
    assert done.returncode != 0
    assert "cannot connect to libvirt" in done.stderr


def test_missing_libvirt_bindings_are_named(tmp_path: Path) -> None:
    controller = Controller(tmp_path)
    controller.describe(uris=["qemu:///system"])
    (tmp_path / "libvirt.py").write_text("raise ImportError\n", encoding="utf-8")
    controller._environment["PYTHONPATH"] = str(tmp_path)
    done = controller.run("inventory", "--list")
    assert done.returncode != 0
    assert "libvirt-python" in done.stderr
