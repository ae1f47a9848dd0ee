# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests that are domains of a libvirtd, and can be seen without it."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import time
import typing as t
import uuid as uuids

from . import LabError, binaries, packages, processes
from .contact import Contact, Died
from .daemon import Daemon
from .guest import Nodes
from .image import image
from .observer import Monitor

LEVELS = ("sockets", "dies", "clusters", "cores", "threads")


class LibvirtGuest(Contact):
    """A domain, which is ended and forgotten when the ``with`` block is left."""

    type = "qemu"
    cpu = "<cpu>"

    def __init__(
        self,
        daemon: Daemon,
        *,
        vcpus: str = "<vcpu current='2'>8</vcpu>",
        topology: t.Mapping[str, int] | None = None,
        numa: Nodes = (),
        name: str = "lab",
        uuid: str | None = None,
        machine: str = "q35",
        qemu: binaries.Qemu | str | None = None,
        memory: int = 256,
        boot: bool = True,
        start: bool = True,
        paused: bool = False,
        transient: bool = False,
        agent: bool = False,
        shell: bool = True,
        as_kvm: bool = False,
        append: str = "",
        rest: str = "",
        linux: str = packages.DISTRIBUTION,
        saved: pathlib.Path | None = None,
    ) -> None:
        """Describe a domain; `rest` is more of its XML, such as `<cputune>`, `qemu` and `linux` as those of a guest.

        It starts from a `saved` state, which has to be of a domain with the same description, instead of booting.

        Without `shell` it has no channel, for machines that have no PCI.

        Under TCG, libvirt does not detect that a vCPU was unplugged, and times out after 5 seconds, unless `as_kvm` has
        QEMU report it as under KVM.
        """
        super().__init__()
        self.daemon = daemon
        self.name = name
        self.uuid = uuid or str(uuids.uuid4())
        self.qemu = binaries.resolve(qemu)
        self.transient = transient
        self.speaks = boot and start and shell and not paused
        folder = daemon.folder / "guests"
        self.observer_socket, self.shell_socket = (
            os.fspath(folder / f"{name}.{purpose}") for purpose in ("observer", "shell")
        )
        self.console = folder / f"{name}.console"
        self.file = folder / f"{name}.xml"
        self._relayed = folder / f"{name}.relayed"
        self._as_kvm = as_kvm
        self._saved = saved
        self._agent = agent
        self.starts = start
        self._paused = paused
        self._seen = 0
        self.description = f"""\
<domain type='{self.type}'>
  <name>{name}</name>
  <uuid>{self.uuid}</uuid>
  <memory unit='MiB'>{memory}</memory>
  {vcpus}
  <os><type arch='x86_64' machine='{machine}'>hvm</type>{self._started_by(append, linux) if boot else ""}</os>
  <features><acpi/></features>
  {cpu_xml(topology or {}, numa, memory, self.cpu)}
  {rest}
  <devices>
    <emulator>{daemon.emulator(self.qemu)}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    {self._serial()}
    {_channel("lab.shell", f"<source mode='bind' path='{self.shell_socket}'/>") if shell else ""}
    {_channel("org.qemu.guest_agent.0") if agent else ""}
  </devices>
</domain>
"""

    def __enter__(self) -> LibvirtGuest:
        try:
            self.make()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()

    @property
    def pid(self) -> int:
        """QEMU's process id, as libvirt recorded it."""
        try:
            return int((self.daemon.folder / f"run/libvirt/qemu/run/{self.name}.pid").read_text())
        except FileNotFoundError:
            raise LabError(f"the domain {self.name} is shut off") from None

    @property
    def observer(self) -> Monitor:
        """A monitor that neither libvirt nor the code under test use."""
        self._follow()
        return super().observer

    @property
    def state(self) -> str:
        """What libvirt calls its state: running, paused, shut off."""
        return self.virsh("domstate").strip()

    @property
    def log(self) -> str:
        """The command lines of its QEMUs, and their output."""
        path = self.daemon.folder / f"cache/libvirt/qemu/log/{self.name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def shell(self, command: str, timeout: float = 30) -> str:
        """Run a command in the guest and return its output; `ShellError` when its status is not 0."""
        self._follow()
        return super().shell(command, timeout)

    def wait_ready(self, timeout: float = 60) -> float:
        """Wait until the guest's shell answers, and libvirt knows of its agent; return the seconds that took."""
        began = time.monotonic()
        super().wait_ready(timeout)
        while self._agent and "name='org.qemu.guest_agent.0' state='connected'" not in self.xml():
            if time.monotonic() - began > timeout:
                raise LabError(f"the agent of the domain {self.name} is not there after {timeout} s")
            time.sleep(0.05)
        return time.monotonic() - began

    def check_alive(self) -> None:
        """Raise `Died` if its QEMU has ended."""
        try:
            alive = processes.started(self.pid) is not None
        except LabError:
            alive = False
        if not alive:
            raise Died(f"QEMU ended: {self.log[-1500:].strip()}")

    def virsh(self, verb: str, *words: str) -> str:
        """Run a command of virsh on the domain and return its output; `LabError` when it fails."""
        return self.daemon.virsh(verb, self.name, *words)

    def xml(self, inactive: bool = False) -> str:
        """Return the domain's XML, as it is or as it will be at its next start."""
        return self.virsh("dumpxml", *(["--inactive"] if inactive else []))

    def make(self) -> None:
        """Define it, and start it if it is to be started; or create it as transient."""
        self.file.write_text(self.description, encoding="utf-8")
        if self._as_kvm:
            self._relayed.touch()
        if self.transient and self._saved:
            self.daemon.virsh("restore", os.fspath(self._saved))
        elif self.transient:
            self.daemon.virsh("create", os.fspath(self.file), *(["--paused"] if self._paused else []))
        else:
            self.define()
            if self._saved:
                self.daemon.virsh("restore", os.fspath(self._saved))
            elif self.starts:
                self.start(self._paused)

    def define(self, xml: str | None = None) -> None:
        """Define it, or define it anew by other XML."""
        if xml is not None:
            self.file.write_text(xml, encoding="utf-8")
        self.daemon.virsh("define", os.fspath(self.file))

    def start(self, paused: bool = False) -> None:
        """Start it, from its managed save if there is one."""
        self.virsh("start", *(["--paused"] if paused else []))

    def destroy(self) -> None:
        """End its QEMU."""
        self.virsh("destroy")

    def suspend(self) -> None:
        """Stop its vCPUs."""
        self.virsh("suspend")

    def resume(self) -> None:
        """Let its vCPUs go on."""
        self.virsh("resume")

    def save(self, path: pathlib.Path) -> None:
        """Save it to a file and end its QEMU."""
        self.hang_up()
        self.virsh("save", os.fspath(path))

    def managedsave(self) -> None:
        """Save it to a file and end its QEMU."""
        self.virsh("managedsave")

    def undefine(self) -> None:
        """Let libvirt forget it, or keep it as transient while it runs."""
        self.virsh("undefine", "--managed-save")

    def remove(self) -> None:
        """End it and let libvirt forget it, whatever has become of it."""
        self.disconnect()
        self.daemon.start_daemon()
        for action in (self.destroy, self.undefine):
            with contextlib.suppress(LabError):
                action()
        left = self.daemon.virsh("list", "--all", "--name").split()
        if self.name in left:
            raise LabError(f"libvirt does not forget the domain {self.name}")
        for path in self.file.parent.glob(f"{self.name}.*"):
            path.unlink()

    def _started_by(self, append: str, linux: str) -> str:
        """Return what its XML has in `<os>` besides the type."""
        files = image(release=linux)
        return (
            f"<kernel>{self.daemon.lend(files.kernel)}</kernel><initrd>{self.daemon.lend(files.initramfs)}</initrd>"
            f"<cmdline>console=ttyS0 {append}</cmdline>"
        )

    def _serial(self) -> str:
        return f"<serial type='file'><source path='{self.console}'/></serial>"

    def _follow(self) -> None:
        """Leave a QEMU that was the domain's and is no more."""
        pid = self.pid
        if pid != self._seen:
            self.disconnect()
        self._seen = pid


def cpu_xml(topology: t.Mapping[str, int], numa: Nodes, memory: int, cpu: str = "<cpu>") -> str:
    """Return `<cpu>` with NUMA nodes described as `{"sockets": [0, 1]}`, or by vCPUs' ids as `{"cpus": [0, 5]}`.

    `cpu` is its beginning; an empty element is left out.
    """
    levels = [level for level in LEVELS if level in topology]
    places = list(itertools.product(*(range(topology[level]) for level in levels)))
    cells = []
    for number, node in enumerate(numa):
        cpus = set(node.get("cpus", ()))
        for vcpu, place in enumerate(places):
            if any(at in node.get(level, ()) for level, at in zip(levels, place)):
                cpus.add(vcpu)
        with_cpus = f" cpus='{','.join(str(vcpu) for vcpu in sorted(cpus))}'" if cpus else ""
        cells.append(f"<cell id='{number}'{with_cpus} memory='{memory // len(numa)}' unit='MiB'/>")
    counts = "".join(f" {level}='{count}'" for level, count in topology.items())
    inner = (f"<topology{counts}/>" if topology else "") + (f"<numa>{''.join(cells)}</numa>" if cells else "")
    return f"{cpu}{inner}</cpu>" if inner or cpu != "<cpu>" else ""


def _channel(name: str, source: str = "") -> str:
    return f"<channel type='unix'>{source}<target type='virtio' name='{name}'/></channel>"
