# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether KVM works here, tried with a guest: a device that can be opened may run some guests and not others."""

from __future__ import annotations

import functools
import os
import tempfile

from . import LabError, binaries, eyes
from .ospm import OspmGuest

DEVICE = "/dev/kvm"


@functools.cache
def kvm_problem(qemu: binaries.Qemu | str | None = None) -> str | None:
    """Return why an OSPM guest does not work under KVM here; None if it boots and runs code on a plugged vCPU."""
    qemu = binaries.resolve(qemu)
    if not os.path.exists(DEVICE):
        return f"there is no {DEVICE}"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"{DEVICE} cannot be opened for reading and writing"
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            OspmGuest(folder, accel="kvm", smp="1,maxcpus=2", qemu=qemu) as guest,
        ):
            guest.wait_ready()
            eyes.plug(guest.eyes, 1)
            guest.ospm.wait("end plug 1")
            guest.ospm.run_code(1)
    except (LabError, OSError) as error:
        return " ".join(str(error).split())
    return None


def kvm_works(qemu: binaries.Qemu | str | None = None) -> bool:
    """Whether OSPM guests work under KVM here."""
    return kvm_problem(qemu) is None


def accelerator(qemu: binaries.Qemu | str | None = None) -> str:
    """Return what OSPM guests run under here: `kvm`, else `tcg`."""
    return "kvm" if kvm_works(qemu) else "tcg"


def summary() -> str:
    """Return the line that says whether there is KVM here."""
    try:
        problem = kvm_problem()
    except LabError as error:
        return f"KVM: not tried yet, {error}"
    if problem:
        return f"KVM: NOT USED, {problem}. All guests run under TCG."
    return f"KVM: WORKS HERE, with {binaries.default()}. OSPM guests run under KVM, Linux guests under TCG."
