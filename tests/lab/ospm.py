# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The OSPM guest: no Linux, only the operating system's side of CPU hotplug, commanded over its serial port.

ospm.S describes its steps, commands and facts.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import threading
import time
import typing as t

from . import LabError, ospm_image
from .contact import Contact
from .guest import TCG, Guest

BOOT_STEPS = "a l"
CPUS = {"kvm": "host,-arch-capabilities", "tcg": "qemu64"}
MEMORY = 32
# Linux reports that the ejection is in progress before it reports these.
AFTER_PROGRESS = (129, 130, 131)


class Ospm:
    """The serial port of an OSPM guest: commands to it, and `facts`, the lines with which it reports what it does.

    A vCPU of None stands for all. `times` limits for how many events an answer is valid; after that, and at reset, the
    guest does again as it is asked to. An answer that is already under way is not changed.

    Facts are read as they come: the guest waits when it can print no more.
    """

    def __init__(self, path: str) -> None:
        self.facts: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def wait_ready(self, timeout: float = 20) -> None:
        """Wait until it has carried out the steps of its boot."""
        self._wait_state("idle", timeout)

    def wait_hold(self, timeout: float = 20) -> None:
        """Wait until it holds; QEMU drops the fact that it does so before anyone is connected."""
        self._wait_state("hold", timeout)

    def wait_idle(self, timeout: float = 20) -> None:
        """Wait until it has answered all events; between two of them it is idle for a moment."""
        for _reply in range(2):
            self.wait_ready(timeout)

    def state(self, timeout: float = 10) -> str:
        """Return its machine and whether it is idle, busy or in hold; wait for it where it has not started yet."""
        deadline = time.monotonic() + timeout
        since = len(self.facts)
        while True:
            # What is sent before the serial port is set up may get lost.
            self._socket.sendall(b"\n?\n")
            for fact in self._facts(since, min(deadline, time.monotonic() + 0.2)):
                if fact.startswith("state "):
                    return fact.removeprefix("state ")
            if time.monotonic() > deadline:
                raise TimeoutError("the OSPM guest does not answer")

    def _wait_state(self, state: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self.state(deadline - time.monotonic()).endswith(f" {state}"):
            time.sleep(0.01)

    def wait(self, fact: str, timeout: float = 10, since: int = 0) -> int:
        """Wait for a fact at index `since` or later, and return the index behind it."""
        for number, found in enumerate(self._facts(since, time.monotonic() + timeout), since + 1):
            if found == fact:
                return number
        raise TimeoutError(f"the OSPM guest has not reported {fact!r} but {self.facts[since:]}")

    def listen(self, seconds: float) -> list[str]:
        """Return the facts that it reports from now on for a while."""
        return list(self._facts(len(self.facts), time.monotonic() + seconds))

    def command(self, line: str, timeout: float = 10) -> None:
        """Send a command that it acknowledges; `LabError` when it does not accept it."""
        since = len(self.facts)
        self._socket.sendall(line.encode("ascii") + b"\n")
        for fact in self._facts(since, time.monotonic() + timeout):
            if fact == "ok":
                return
            if fact in ("busy", "error"):
                raise LabError(f"the OSPM guest answers {fact} to {line!r}")
        raise TimeoutError(f"the OSPM guest does not acknowledge {line!r}")

    def acknowledge_plug(self, steps: str, vcpu: int | None = None, times: int = 0) -> None:
        """Carry out these steps when the vCPU is plugged."""
        self.command(f"p {_which(vcpu)} {times} {steps}")

    def acknowledge_unplug(self, steps: str, vcpu: int | None = None, times: int = 0) -> None:
        """Carry out these steps when the vCPU is to be unplugged."""
        self.command(f"u {_which(vcpu)} {times} {steps}")

    def acknowledge(self, vcpu: int | None = None) -> None:
        """Acknowledge plugs, and eject 20 ms after being asked to, as at boot."""
        self.acknowledge_plug("o0", vcpu)
        self.acknowledge_unplug("w20 o132 e o0", vcpu)

    def refuse(self, vcpu: int | None = None, status: int = 130, times: int = 0) -> None:
        """Refuse unplugs with this _OST status."""
        progress = "o132 " if status in AFTER_PROGRESS else ""
        self.acknowledge_unplug(f"{progress}o{status}", vcpu, times)

    def acknowledge_nothing(self, vcpu: int | None = None, times: int = 0) -> None:
        """Answer nothing to unplugs."""
        self.acknowledge_unplug("", vcpu, times)

    def be_slow(self, seconds: float, vcpu: int | None = None, times: int = 0) -> None:
        """Report at once that the ejection is in progress, and eject after this time."""
        self.acknowledge_unplug(f"o132 w{round(seconds * 1000)} e o0", vcpu, times)

    def hold(self, vcpu: int | None = None, times: int = 0) -> None:
        """Report at once that the ejection is in progress, and eject after `release`."""
        self.acknowledge_unplug("o132 h e o0", vcpu, times)

    def release(self) -> None:
        """End a hold."""
        self.command("g")

    def do(self, steps: str, vcpu: int = 0, timeout: float = 10) -> None:
        """Carry out steps now, and return when that is done."""
        since = len(self.facts)
        self.command(f"! {vcpu} {steps}")
        self.wait(f"done {vcpu}", timeout, since)

    def run_code(self, vcpu: int) -> None:
        """Run code on an enabled vCPU and return when it has executed it."""
        since = len(self.facts)
        self.do("r", vcpu)
        if f"ran {vcpu}" not in self.facts[since:]:
            raise LabError(f"vCPU {vcpu} does not execute code")

    def reset(self) -> None:
        """Reset the machine, whatever is being done."""
        self._socket.sendall(b"x\n")

    def power_off(self) -> None:
        """Power the machine off, whatever is being done."""
        self._socket.sendall(b"z\n")

    def _facts(self, since: int, deadline: float) -> t.Iterator[str]:
        """Yield the facts at index `since` and later, as they come, until the deadline."""
        while True:
            with self._changed:
                while len(self.facts) <= since:
                    if self._ended:
                        raise ConnectionError("the OSPM guest is gone")
                    if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                        return
                fact = self.facts[since]
            since += 1
            yield fact

    def _read(self) -> None:
        buffer = b""
        with contextlib.suppress(OSError):
            while chunk := self._socket.recv(4096):
                *lines, buffer = (buffer + chunk).split(b"\n")
                with self._changed:
                    self.facts += [line.decode("ascii", "replace") for line in lines]
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def _which(vcpu: int | None) -> str:
    return "*" if vcpu is None else str(vcpu)


class OspmContact(Contact):
    """An OSPM guest, in whichever QEMU."""

    serial_socket: str
    _ospm: Ospm | None = None

    @property
    def ospm(self) -> Ospm:
        """Its serial port."""
        if not self._ospm:
            self._ospm = Ospm(self.serial_socket)
        return self._ospm

    def wait_ready(self, timeout: float = 20) -> float:
        """Wait until it has carried out the steps of its boot; return the seconds that took."""
        began = time.monotonic()
        try:
            self.ospm.wait_ready(timeout)
        except (TimeoutError, ConnectionError):
            self.check_alive()
            raise
        return time.monotonic() - began

    def disconnect(self) -> None:
        """Close the serial port and the monitor."""
        super().disconnect()
        if self._ospm:
            self._ospm.close()
        self._ospm = None


class OspmGuest(OspmContact, Guest):
    """An OSPM guest in a QEMU of our own; with `seabios`, it starts after that firmware and not in its place.

    `boot_steps` are what it does at each boot; while it holds ("h a l") it is as a guest whose ACPI is not up.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        accel: str,
        boot_steps: str = BOOT_STEPS,
        seabios: bool = False,
        extra: t.Sequence[str] = (),
        **options: t.Any,
    ) -> None:
        folder = pathlib.Path(workdir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        image = folder / "ospm"
        image.write_bytes(ospm_image.image(boot_steps))
        options = {"memory": MEMORY, "cpu": CPUS[accel], **options}
        super().__init__(
            folder,
            boot=False,
            accel={"kvm": "kvm", "tcg": TCG}[accel],
            serial_socket=True,
            extra=["-kernel" if seabios else "-bios", os.fspath(image), *extra],
            **options,
        )
        self.accel = accel
        self.speaks = "h" not in boot_steps and not options.get("paused") and not options.get("incoming")
