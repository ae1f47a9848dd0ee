# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest whose QEMU the test itself starts."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import typing as t

from . import LabError, binaries, packages
from .architectures import ARCHITECTURES
from .contact import Contact, Died
from .image import image

SOCKETS = ("qmp", "observer", "agent", "shell", "serial")
SOCKET_PATH_MAX = 107
# Each vCPU's thread takes one of `maxcpus` TCG contexts for good, so that a guest aborts when those it booted with and
# all that were ever plugged are more; with a single thread for all, QEMU aborts at the first unplug.
TCG = "tcg,thread=multi"
# Since 6.9, Linux lets CPUs be plugged only where it knows the hypervisor, and acknowledges them nevertheless. It does
# not know TCG; but it takes a machine of this serial number for VMware's, whose port QEMU has.
KNOWN_HYPERVISOR = ("-smbios", "type=1,serial=VMware-lab")

Nodes = t.Sequence[t.Mapping[str, t.Sequence[int]]]


def numa_args(nodes: Nodes, memory: int) -> list[str]:
    """Return QEMU's arguments for NUMA nodes, each described as `{"sockets": [0, 1]}` (or dies, cores, threads)."""
    arguments: list[str] = []
    for number in range(len(nodes)):
        size = memory // len(nodes)
        arguments += ["-object", f"memory-backend-ram,id=m{number},size={size}M"]
        arguments += ["-numa", f"node,nodeid={number},memdev=m{number}"]
    for number, node in enumerate(nodes):
        for level, ids in node.items():
            for one in ids:
                arguments += ["-numa", f"cpu,node-id={number},{level.rstrip('s')}-id={one}"]
    return arguments


class Guest(Contact):
    """A guest that is ended when the `with` block is left, and by the kernel when the thread that started it dies."""

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        smp: str,
        numa: Nodes = (),
        machine: str | None = None,
        cpu: str | None = None,
        qemu: binaries.Qemu | str | None = None,
        memory: int = 256,
        boot: bool = True,
        paused: bool = False,
        incoming: bool = False,
        agent: bool = False,
        append: str = "",
        extra: t.Sequence[str] = (),
        name: str = "lab",
        uuid: str | None = None,
        tcp_monitor: bool = False,
        arch: str = "x86_64",
        accel: str = TCG,
        serial_socket: bool = False,
        linux: str = packages.DISTRIBUTION,
    ) -> None:
        """Describe a guest; `qemu` is one, or the release whose it is, `linux` the release whose kernel boots.

        An `incoming` one waits for a guest that migrates to it.
        """
        super().__init__()
        self.workdir = pathlib.Path(workdir).absolute()
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.qemu = binaries.resolve(qemu, arch)
        self.log = self.workdir / "qemu.log"
        self.console = self.workdir / "console.log"
        self.tcp_monitor: str | None = None
        self._short: pathlib.Path | None = None
        folder = self.workdir
        if len(os.fspath(folder / "serial.sock")) > SOCKET_PATH_MAX:
            self._short = folder = pathlib.Path(tempfile.mkdtemp(prefix="lab-"))
        self.qmp_socket, self.observer_socket, self.agent_socket, self.shell_socket, self.serial_socket = (
            os.fspath(folder / f"{purpose}.sock") for purpose in SOCKETS
        )
        self.speaks = boot and not paused and not incoming
        self._tcp = tcp_monitor
        self._process: subprocess.Popen[bytes] | None = None
        found = ARCHITECTURES[arch]
        transport = "device" if machine and machine.startswith("microvm") else found.bus
        self.command = [
            *self.qemu.command,
            *("-name", name, "-machine", machine or found.machine, "-cpu", cpu or found.cpu, "-smp", smp),
            *("-m", f"{memory}M", *numa_args(numa, memory)),
            *("-accel", accel, "-nodefaults", "-no-user-config", "-display", "none"),
            *("-serial", "chardev:serial" if serial_socket else f"file:{self.console}"),
            *_chardev("qmp", self.qmp_socket),
            *_chardev("observer", self.observer_socket),
            *("-mon", "chardev=qmp,mode=control", "-mon", "chardev=observer,mode=control"),
            *("-device", f"virtio-serial-{transport}", *_chardev("shell", self.shell_socket)),
            *("-device", "virtserialport,chardev=shell,name=lab.shell"),
        ]
        if uuid:
            self.command += ["-uuid", uuid]
        if serial_socket:
            self.command += _chardev("serial", self.serial_socket)
        if agent:
            self.command += _chardev("agent", self.agent_socket)
            self.command += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
        if tcp_monitor:
            self.command += ["-chardev", "socket,id=tcp,host=127.0.0.1,port=0,server=on,wait=off"]
            self.command += ["-mon", "chardev=tcp,mode=control"]
        if boot:
            files = image(arch, linux)
            self.command += ["-kernel", os.fspath(files.kernel), "-initrd", os.fspath(files.initramfs)]
            self.command += ["-append", f"console={found.terminal} {append}".strip()]
            if arch == "x86_64" and transport == "pci":
                self.command += KNOWN_HYPERVISOR
        if found.bios and self.qemu.root:
            self.command += ["-bios", os.fspath(self.qemu.root / found.bios)]
        if paused:
            self.command.append("-S")
        if incoming:
            self.command += ["-incoming", "defer"]
        self.command += extra

    def __enter__(self) -> Guest:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        if not self._process:
            raise LabError("this guest was not started")
        return self._process.pid

    def start(self, detached: bool = False) -> None:
        """Start QEMU and return when its monitors answer; a detached one outlives this process."""
        tie = [] if detached else ["setpriv", "--pdeathsig", "KILL", "--"]
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [*tie, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.qemu.environment,
                start_new_session=detached,
            )
        deadline = time.monotonic() + 30
        while True:
            self.check_alive()
            try:
                monitor = self.observer
                break
            except (FileNotFoundError, ConnectionError):
                if time.monotonic() > deadline:
                    raise LabError("QEMU does not open its monitor") from None
                time.sleep(0.02)
        if self._tcp:
            for chardev in monitor.execute("query-chardev"):
                found = re.search(r"tcp:([\d.]+:\d+)", chardev["filename"])
                if found:
                    self.tcp_monitor = found.group(1)

    def stop(self, timeout: float = 10) -> None:
        """End QEMU, politely at first."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._forget()

    def kill(self) -> None:
        """End QEMU at once."""
        if self._process:
            self._process.kill()
        self._forget()

    def _forget(self) -> None:
        if self._process:
            self._process.wait()
        self.disconnect()
        if self._short:
            shutil.rmtree(self._short, ignore_errors=True)

    def check_alive(self) -> None:
        if self._process and self._process.poll() is not None:
            raise Died(f"QEMU ended with {self._process.returncode}: {self.log.read_text(errors='replace').strip()}")


def _chardev(name: str, path: str) -> list[str]:
    return ["-chardev", f"socket,id={name},path={path},server=on,wait=off"]
