# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The architectures that guests can have: their packages in Debian, and the machine that a guest gets by default."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One architecture, by QEMU's name for it.

    `debian` is Debian's name, `qemu` and `kernel` are its packages, `firmware` those that its QEMU needs besides.
    `machine` and `cpu` are QEMU's arguments, `bios` is the firmware's file below the folder of the unpacked QEMU,
    `terminal` is what Linux calls its serial port. virtio devices are on the bus `bus`, whose drivers are `modules`.
    """

    debian: str
    qemu: str
    kernel: str
    machine: str
    cpu: str
    terminal: str
    firmware: tuple[str, ...] = ()
    bios: str | None = None
    bus: str = "pci"
    modules: tuple[str, ...] = ("virtio_pci", "virtio_console")


PSERIES = "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken"
ARCHITECTURES = {
    "x86_64": Architecture("amd64", "qemu-system-x86", "linux-image-cloud-amd64", "q35", "qemu64,-hypervisor", "ttyS0"),
    "ppc64": Architecture("ppc64el", "qemu-system-ppc", "linux-image-powerpc64le", PSERIES, "power9", "hvc0"),
    "s390x": Architecture(
        *("s390x", "qemu-system-s390x", "linux-image-s390x", "s390-ccw-virtio", "max", "ttysclp0"),
        bus="ccw",
        modules=("virtio_console",),
    ),
    "aarch64": Architecture("arm64", "qemu-system-arm", "linux-image-arm64", "virt", "cortex-a72", "ttyAMA0"),
    "loongarch64": Architecture(
        *("loong64", "qemu-system-misc", "linux-image-loong64", "virt", "max", "ttyS0"),
        firmware=("qemu-efi-loongarch64",),
        bios="usr/share/qemu-efi-loongarch64/QEMU_EFI.fd",
    ),
    "riscv64": Architecture(
        *("riscv64", "qemu-system-riscv", "linux-image-riscv64", "virt", "max", "ttyS0"), firmware=("opensbi",)
    ),
}
# Those of `make matrix-real` only, with the newest QEMU and Linux.
NEWEST_ONLY = ("s390x", "aarch64", "loongarch64", "riscv64")
