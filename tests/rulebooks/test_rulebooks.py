# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's rulebooks, run by ansible-rulebook on OSPM guests; QEMU shows what they did."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab import kvm, observer
from lab.daemon import Daemon
from lab.ospm import OspmGuest
from lab.ospm_domain import OspmDomain
from lab.software import releases, software

CACHE = Path(__file__).absolute().parents[2] / ".cache"
PROGRAMS = CACHE / "rulebooks/bin"
# ansible-rulebook starts a Java runtime, and each playbook takes some seconds.
PATIENCE = 200


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, because that of a socket is limited."""
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        yield Path(name)


def guest_in(folder: Path) -> OspmGuest:
    events = ["-chardev", f"socket,id=events,path={folder}/events,server=on,wait=off"]
    return OspmGuest(
        folder / "guest",
        smp="2,sockets=4,cores=1,threads=1,maxcpus=4",
        accel=kvm.accelerator(None),
        extra=[*events, "-mon", "chardev=events,mode=control"],
    )


class Rulebook:
    """A rulebook of the collection that runs: ``printed`` is its output so far."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process = process
        self._output = output

    @property
    def printed(self) -> str:
        return self._output.read_text()

    def wait_enabled(self, guest: OspmGuest | OspmDomain, *vcpus: int) -> None:
        """Wait until the guest has these vCPUs."""
        self._wait(lambda: observer.enabled_ids(guest.observer) == list(vcpus))

    def wait_events(self, kind: str, number: int) -> None:
        """Wait until it has received this many events of a kind."""
        self._wait(lambda: self.printed.count(f"'kind': '{kind}'") >= number)

    def wait_playbooks(self, number: int) -> None:
        """Wait until this many playbooks have ended."""
        self._wait(lambda: self.printed.count("PLAY RECAP") >= number)

    def _wait(self, reached: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not reached():
            assert self._process.poll() is None, self.printed
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.1)


@contextlib.contextmanager
def running(
    name: str, folder: Path, libraries: Mapping[str, str] | None = None, **variables: Any
) -> Iterator[Rulebook]:
    """Run a rulebook of the collection; ``libraries`` are the variables with which its Python finds libvirt's."""
    inventory, output, files = folder / "inventory.json", folder / "output", folder / "variables.json"
    local = {"ansible_connection": "local", "ansible_python_interpreter": str(PROGRAMS / "python")}
    inventory.write_text(json.dumps({"all": {"hosts": {"hypervisor": local}}}))
    files.write_text(json.dumps({"kvm_hotplug_host": "hypervisor", **variables}))
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(CACHE / "collections"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        **(libraries or {}),
    }
    arguments = ["--rulebook", f"kvm.hotplug.{name}", "--inventory", str(inventory), "--vars", str(files)]
    with output.open("wb") as written:
        process = subprocess.Popen(
            [str(PROGRAMS / "ansible-rulebook"), *arguments, "--print-events"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Rulebook(process, output)
    finally:
        # Its playbooks are in its group, which has its id for as long as it is not waited for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_guest_that_was_restarted_has_its_live_only_vcpus_again(folder: Path) -> None:
    options = {"events_socket": f"{folder}/events", "enabled": "0-1,3", "scope": "live", "guest_online": "ignore"}
    with guest_in(folder) as guest:
        guest.wait_ready()
        guests = [{"qmp_socket": guest.qmp_socket, **options}]
        with running("restart", folder, kvm_hotplug_guests=guests) as rulebook:
            # It ran before the rulebook did.
            rulebook.wait_enabled(guest, 0, 1, 3)
            rulebook.wait_playbooks(1)
            guest.stop()
            with guest_in(folder) as again:
                assert observer.enabled_ids(again.observer) == [0, 1]
                rulebook.wait_enabled(again, 0, 1, 3)
                rulebook.wait_playbooks(2)
                assert rulebook.printed.count("'kind': 'started'") == 1
                assert "failed=0" in rulebook.printed.rpartition("PLAY RECAP")[2]


def test_a_libvirt_guest_that_was_restarted_has_its_live_only_vcpus_again(folder: Path) -> None:
    libraries = software(releases()[0]).environment
    probe = [str(PROGRAMS / "python"), "-c", "import libvirt, libvirt_qemu"]
    if subprocess.run(probe, env={**os.environ, **libraries}, check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("libvirt's bindings are for another Python than that of ansible-rulebook")
    with (
        Daemon(releases()[0]) as daemon,
        OspmDomain(daemon, accel=kvm.domains_accelerator(None), vcpus="<vcpu current='2'>4</vcpu>") as guest,
    ):
        guest.wait_ready()
        options = {"name": guest.name, "uri": daemon.uri, "enabled": "0-1,3", "scope": "live", "guest_online": "ignore"}
        with running("restart", folder, libraries, kvm_hotplug_guests=[options]) as rulebook:
            rulebook.wait_enabled(guest, 0, 1, 3)
            rulebook.wait_playbooks(1)
            guest.virsh("destroy")
            guest.virsh("start")
            rulebook.wait_enabled(guest, 0, 1, 3)
            rulebook.wait_playbooks(2)
            assert rulebook.printed.count("'kind': 'started'") == 1
            assert "failed=0" in rulebook.printed.rpartition("PLAY RECAP")[2]


@pytest.mark.parametrize(
    ("limits", "enabled"),
    [
        ({"busy": -1, "idle": -1}, (0, 1, 2)),
        ({"busy": 101, "idle": 101}, (0,)),
    ],
    ids=["busy", "idle"],
)
def test_a_guest_is_scaled_once_in_a_cool_down(folder: Path, limits: dict[str, int], enabled: tuple[int, ...]) -> None:
    with guest_in(folder) as guest:
        guest.wait_ready()
        variables = {
            "kvm_hotplug_guests": [{"qmp_socket": guest.qmp_socket, "events_socket": f"{folder}/events"}],
            "kvm_hotplug_interval": 1,
            "kvm_hotplug_minimum": 1,
            "kvm_hotplug_maximum": 4,
            **{f"kvm_hotplug_{name}": limit for name, limit in limits.items()},
        }
        with running("scale", folder, **variables) as rulebook:
            rulebook.wait_enabled(guest, *enabled)
            rulebook.wait_playbooks(1)
            received = rulebook.printed.count("'kind': 'statistics'")
            rulebook.wait_events("statistics", received + 5)
            assert rulebook.printed.count("PLAY [") == 1
            assert observer.enabled_ids(guest.observer) == list(enabled)
