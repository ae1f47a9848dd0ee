# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Record the messages of QEMU and a real guest in situations to replay: `python3 -m lab.record FOLDER`."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
import tempfile
import time
import typing as t

from . import binaries, linux_behaviours, observer
from .guest import Guest, Nodes

SMP = "2,sockets=4,cores=2,threads=1,maxcpus=8"
NODES: Nodes = ({"sockets": [0, 1]}, {"sockets": [2, 3]})
ANSWER = 30


class Recorder:
    """A trace of one conversation, as lines of `{"t": seconds, "dir": ">" or "<", "msg": {...}}`."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lines: list[str] = []

    def __call__(self, direction: str, message: observer.Message) -> None:
        entry = {"t": round(time.monotonic() - self._began, 4), "dir": direction, "msg": message}
        self._lines.append(json.dumps(entry))

    def save(self, path: pathlib.Path) -> None:
        """Write the trace."""
        path.write_text("".join(f"{line}\n" for line in self._lines), encoding="utf-8")


class Situations:
    """The situations, each a separate conversation with one QEMU."""

    def __init__(self, folder: pathlib.Path, qemu: binaries.Qemu, workdir: str) -> None:
        self._folder = folder
        self._qemu = qemu
        self._workdir = workdir
        folder.mkdir(parents=True, exist_ok=True)
        # Older ones wedge the guest when vCPUs are plugged that leave gaps, and abort when one is plugged again.
        self._works_well = qemu.version >= binaries.UNPLUGS_WELL
        self._suffix = ".".join(str(number) for number in qemu.version[:2])

    def record(self) -> None:
        """Record them all."""
        self._firmware()
        with self._guest() as guest:
            guest.wait_ready()
            if self._works_well:
                self._running(guest)
            else:
                self._careful(guest)
        if self._works_well:
            with self._guest() as guest:
                guest.wait_ready()
                self._awkward(guest)
        with (
            self._guest(smp="1,maxcpus=4", numa=(), machine="microvm", boot=False) as guest,
            self._talk(guest, "microvm") as monitor,
        ):
            _ask(monitor, "query-hotpluggable-cpus")
            _ask(monitor, "query-acpi-ospm-status")
            _ask(monitor, "query-machines")

    def _guest(self, **options: t.Any) -> Guest:
        return Guest(self._workdir, **{"smp": SMP, "numa": NODES, "qemu": self._qemu, **options})

    @contextlib.contextmanager
    def _talk(self, guest: Guest, name: str) -> t.Iterator[observer.Monitor]:
        recorder = Recorder()
        with observer.Monitor(guest.qmp_socket, trace=recorder) as monitor:
            yield monitor
        recorder.save(self._folder / f"{name}-{self._suffix}.jsonl")
        print(f"{name}-{self._suffix}", flush=True)

    def _firmware(self) -> None:
        for name, options in (("firmware", {"boot": False}), ("not-started", {"paused": True})):
            with self._guest(**options) as guest:
                # The firmware is done with what it does after a second, and looks for something to boot.
                time.sleep(1)
                with self._talk(guest, f"{name}-unplug") as monitor:
                    _look(monitor)
                    _unplug(monitor, observer.slot_of(monitor, 1)["qom-path"])
                    monitor.listen(3)
                    _look(monitor)
                with self._talk(guest, f"{name}-plug") as monitor:
                    observer.plug(monitor, 5)
                    monitor.listen(3)
                    _look(monitor)
                    _unplug(monitor, "vcpu5")
                    monitor.listen(3)
                    _look(monitor)
                    if name == "not-started" and self._works_well:
                        monitor.execute("cont")
                        monitor.listen(1)
                        guest.wait_ready()
                        monitor.listen(1)
                        _look(monitor)

    def _careful(self, guest: Guest) -> None:
        self._plug(guest, 2)
        _wait_online(guest, 3)
        self._refused(guest, 2)
        self._unplug(guest, 2)

    def _running(self, guest: Guest) -> None:
        self._plug(guest, 5)
        with self._talk(guest, "plug-many") as monitor:
            found = {vcpu: observer.slot_of(monitor, vcpu) for vcpu in (2, 3, 4)}
            for vcpu, slot in found.items():
                monitor.send("device_add", driver=slot["type"], id=f"vcpu{vcpu}", **slot["props"])
            for vcpu in found:
                monitor.wait_event("ACPI_DEVICE_OST", ANSWER, source=1, slot=str(vcpu))
            _look(monitor)
        _wait_online(guest, 6)
        self._refused(guest, 5)
        five = linux_behaviours.guest_cpu(guest, guest.observer, 5)
        linux_behaviours.refuse(guest, five, times=1)
        with self._talk(guest, "refused-once") as monitor:
            _unplug(monitor, "vcpu5")
            monitor.wait_event("ACPI_DEVICE_OST", ANSWER, source=3, status=130)
            monitor.listen(1)
            _unplug(monitor, "vcpu5")
            self._gone(monitor, 5)
        linux_behaviours.forbid_ejects(guest)
        with self._talk(guest, "eject-not-supported") as monitor:
            _unplug(monitor, "vcpu4")
            monitor.wait_event("ACPI_DEVICE_OST", ANSWER, source=3, status=128)
            _look(monitor)
        linux_behaviours.forbid_ejects(guest, False)
        self._unplug(guest, 4)
        with self._talk(guest, "unplug-boot-vcpu") as monitor:
            _look(monitor)
            _unplug(monitor, observer.slot_of(monitor, 1)["qom-path"])
            self._gone(monitor, 1)
        with self._talk(guest, "unplug-vcpu-0") as monitor:
            _unplug(monitor, observer.slot_of(monitor, 0)["qom-path"])
            monitor.listen(3)
            _look(monitor)
        with self._talk(guest, "stopped") as monitor:
            monitor.execute("stop")
            _unplug(monitor, "vcpu3")
            monitor.listen(5)
            _look(monitor)
            monitor.execute("cont")
            self._gone(monitor, 3)

    def _plug(self, guest: Guest, vcpu: int) -> None:
        with self._talk(guest, "plug") as monitor:
            _look(monitor)
            observer.plug(monitor, vcpu)
            monitor.wait_event("ACPI_DEVICE_OST", ANSWER, source=1)
            _look(monitor)

    def _refused(self, guest: Guest, vcpu: int) -> None:
        cpu = linux_behaviours.guest_cpu(guest, guest.observer, vcpu)
        linux_behaviours.refuse(guest, cpu)
        with self._talk(guest, "refused") as monitor:
            for _asking in range(3):
                since = len(monitor.events)
                _unplug(monitor, f"vcpu{vcpu}")
                monitor.wait_event("ACPI_DEVICE_OST", ANSWER, since, source=3, status=130)
                _look(monitor)
        linux_behaviours.allow(guest, cpu)

    def _unplug(self, guest: Guest, vcpu: int) -> None:
        with self._talk(guest, "unplug") as monitor:
            _look(monitor)
            _unplug(monitor, f"vcpu{vcpu}")
            self._gone(monitor, vcpu)

    def _awkward(self, guest: Guest) -> None:
        for vcpu in (4, 5, 6):
            observer.plug(guest.observer, vcpu)
        _wait_online(guest, 5)
        four = linux_behaviours.guest_cpu(guest, guest.observer, 4)
        linux_behaviours.delay_unplugs(guest, four)
        with self._talk(guest, "late") as monitor:
            _unplug(monitor, "vcpu4")
            monitor.listen(5)
            _look(monitor)
            _ask(monitor, "device_del", id="vcpu4")
            slot = observer.slot_of(monitor, 4)
            _ask(monitor, "device_add", driver=slot["type"], id="vcpu4", **slot["props"])
            _ask(monitor, "device_add", driver=slot["type"], id="another", **slot["props"])
            monitor.listen(2)
            linux_behaviours.stop_delaying(guest, four)
            self._gone(monitor, 4)
        with self._talk(guest, "adopted") as monitor:
            five = linux_behaviours.guest_cpu(guest, guest.observer, 5)
            linux_behaviours.delay_unplugs(guest, five)
            guest.observer.execute("device_del", id="vcpu5")
            guest.observer.wait_event("ACPI_DEVICE_OST", ANSWER, source=3, status=132, slot="5")
            _look(monitor)
            linux_behaviours.stop_delaying(guest, five)
            self._gone(monitor, 5)
        with self._talk(guest, "offline-in-guest") as monitor:
            six = linux_behaviours.guest_cpu(guest, guest.observer, 6)
            guest.shell(f"echo 0 > /sys/devices/system/cpu/cpu{six}/online")
            _unplug(monitor, "vcpu6")
            self._gone(monitor, 6)
        with self._talk(guest, "guest-powers-off") as monitor:
            guest.shell("(usleep 300000; poweroff -f) > /dev/null 2>&1 &")
            _look(monitor)
            with contextlib.suppress(ConnectionError):
                monitor.listen(ANSWER)

    def _gone(self, monitor: observer.Monitor, vcpu: int) -> None:
        try:
            monitor.wait_event("ACPI_DEVICE_OST", ANSWER, source=3, status=0, slot=str(vcpu))
        finally:
            monitor.listen(1)
            _look(monitor)


def _wait_online(guest: Guest, count: int) -> None:
    while len(observer.guest_cpus(guest)) < count:
        time.sleep(0.1)


def _ask(monitor: observer.Monitor, command: str, **arguments: t.Any) -> None:
    with contextlib.suppress(observer.MonitorError):
        monitor.execute(command, **arguments)


def _look(monitor: observer.Monitor) -> None:
    for question in ("query-status", "query-hotpluggable-cpus", "query-acpi-ospm-status"):
        _ask(monitor, question)


def _unplug(monitor: observer.Monitor, device: str) -> None:
    _ask(monitor, "device_del", id=device)


if __name__ == "__main__":
    for one in binaries.qemus():
        with tempfile.TemporaryDirectory(prefix="lab-") as scratch:
            Situations(pathlib.Path(sys.argv[1]), one, scratch).record()
