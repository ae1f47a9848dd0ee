# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OSPM guests that are domains of a libvirtd."""

from __future__ import annotations

import os
import typing as t

from . import ospm_image
from .daemon import Daemon
from .domains import LibvirtGuest
from .ospm import BOOT_STEPS, MEMORY, Ospm, OspmContact

# CPUs of an OSPM guest under KVM: see `ospm.CPUS`.
HOST = "<cpu mode='host-passthrough'><feature policy='disable' name='arch-capabilities'/>"


class OspmDomain(OspmContact, LibvirtGuest):
    """An OSPM guest as a domain, of `LibvirtGuest`'s options; without `seabios`, it takes the firmware's place.

    Under TCG, QEMU does not report the removal of a vCPU as it does under KVM: there, its monitor is relayed and the
    report is added, so that both are alike to libvirt.
    """

    def __init__(
        self,
        daemon: Daemon,
        *,
        accel: str,
        name: str = "lab",
        boot_steps: str = BOOT_STEPS,
        seabios: bool = False,
        **options: t.Any,
    ) -> None:
        folder = daemon.folder / "guests"
        self.accel = accel
        self.type = {"kvm": "kvm", "tcg": "qemu"}[accel]
        self.cpu = {"kvm": HOST, "tcg": "<cpu>"}[accel]
        self.serial_socket = os.fspath(folder / f"{name}.serial")
        self._image = folder / f"{name}.ospm"
        self._boot_steps = boot_steps
        self._seabios = seabios
        super().__init__(daemon, name=name, **{"memory": MEMORY, "as_kvm": accel == "tcg", **options})
        self.speaks = self.speaks and "h" not in boot_steps

    @property
    def ospm(self) -> Ospm:
        """Its serial port."""
        self._follow()
        return super().ospm

    def make(self) -> None:
        """Define it, and start it if it is to be started; or create it as transient."""
        self._image.write_bytes(ospm_image.image(self._boot_steps))
        super().make()

    def _started_by(self, append: str, linux: str) -> str:
        if self._seabios:
            return f"<kernel>{self._image}</kernel>"
        return f"<loader readonly='yes' type='rom'>{self._image}</loader>"

    def _serial(self) -> str:
        return f"<serial type='unix'><source mode='bind' path='{self.serial_socket}'/></serial>"
