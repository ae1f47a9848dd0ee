# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether KVM works here, tested with a guest: a KVM that can be opened may run some guests and not others."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import typing as t

from . import LabError, binaries, observer, unprivileged_user
from .guest import Guest
from .ospm import CPUS, OspmGuest

# A Linux guest is ready within seconds under a KVM that runs it, and never under others.
LINUX_PATIENCE = 10.0


@functools.cache
def kvm_problem(qemu: binaries.Qemu | str | None = None) -> str | None:
    """Return why an OSPM guest does not work under KVM here; None if it boots and runs code on a plugged vCPU."""
    qemu = binaries.resolve(qemu)
    if not os.path.exists(unprivileged_user.KVM):
        return f"there is no {unprivileged_user.KVM}"
    if not os.access(unprivileged_user.KVM, os.R_OK | os.W_OK):
        return f"{unprivileged_user.KVM} cannot be opened for reading and writing"
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            OspmGuest(folder, accel="kvm", smp="1,maxcpus=2", qemu=qemu) as guest,
        ):
            guest.wait_ready()
            observer.plug(guest.observer, 1)
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


def domains_accelerator(qemu: binaries.Qemu | None = None) -> str:
    """Return what OSPM guests run under here that are domains: their libvirtd has no rights of ours."""
    return accelerator(qemu) if unprivileged_user.can_use_kvm() else "tcg"


def summary() -> str:
    """Return the line that reports whether KVM is used."""
    try:
        problem = kvm_problem()
    except LabError as error:
        return f"KVM: not tried yet, {error}"
    if problem:
        return f"KVM: NOT USED, {problem}. All guests run under TCG."
    but = "" if domains_accelerator() == "kvm" else ", but for those of libvirt, which has no right to use it"
    return f"KVM: WORKS HERE, with {binaries.default()}. OSPM guests run under KVM{but}; Linux guests under TCG."


class Booted(t.NamedTuple):
    """A Linux guest that is ready: the seconds its boot took, and its accelerator, as text."""

    guest: Guest
    seconds: float
    under: str


def boot_linux(stack: contextlib.ExitStack, folder: str | os.PathLike[str], smp: str, **options: t.Any) -> Booted:
    """Boot a Linux guest of `Guest`'s options under KVM, or under TCG if it does not soon get ready under KVM.

    It ends with the stack.
    """
    problem = kvm_problem(options.get("qemu"))
    if problem is None:
        with contextlib.ExitStack() as attempt:
            try:
                guest = attempt.enter_context(Guest(folder, smp=smp, accel="kvm", cpu=CPUS["kvm"], **options))
                seconds = guest.wait_ready(LINUX_PATIENCE)
            except (LabError, OSError):
                problem = f"under KVM, a Linux guest does not get ready here within {LINUX_PATIENCE:g} s"
            else:
                stack.push(attempt.pop_all())
                return Booted(guest, seconds, "KVM")
    guest = stack.enter_context(Guest(folder, smp=smp, **options))
    return Booted(guest, guest.wait_ready(), f"TCG: {problem}")
