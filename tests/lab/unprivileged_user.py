# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run programs unprivileged: as the user nobody, if this process is root."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import typing as t

UNPRIVILEGED = 65534
KVM = "/dev/kvm"
# In a mount namespace of its own, the process has a device of its own that everyone may use.
OWN_KVM = """\
path=$PATH
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs none "$0" && mknod "$0/kvm" c {major} {minor} && chmod 666 "$0/kvm" &&
mount --bind "$0/kvm" {device} && setpriv=$(command -v setpriv) || exit
PATH=$path
exec "$setpriv" --reuid {nobody} --regid {nobody} --clear-groups -- "$@"
"""


def user() -> dict[str, t.Any]:
    """Return the options of `subprocess.Popen` that drop root's rights."""
    return {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}


def can_use_kvm() -> bool:
    """Whether what runs without our rights can use KVM, if we can: on its own, or by `with_kvm`."""
    if not os.access(KVM, os.R_OK | os.W_OK):
        return False
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or not unshare:
        return os.geteuid() != 0
    return subprocess.run([unshare, "--mount", "true"], capture_output=True, check=False).returncode == 0


def with_kvm(command: t.Sequence[str], folder: pathlib.Path) -> tuple[list[str], dict[str, t.Any]]:
    """Return a command and options of `subprocess.Popen` that run a command without our rights, but for KVM.

    The empty folder is where its own device is made, if KVM's is for us only.
    """
    if os.geteuid() != 0 or not can_use_kvm():
        return list(command), user()
    device = os.stat(KVM).st_rdev
    script = OWN_KVM.format(major=os.major(device), minor=os.minor(device), device=KVM, nobody=UNPRIVILEGED)
    unshare = shutil.which("unshare") or "unshare"
    return [unshare, "--mount", "/bin/sh", "-c", script, os.fspath(folder), *command], {}


def give(*paths: pathlib.Path) -> None:
    """Let files or folders be that user's own."""
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)


def lend(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Return a file or a tree that that user can read: itself, or a copy in a folder open to all."""
    found = path.resolve()
    wanted = 0o005 if found.is_dir() else 0o004
    if os.geteuid() != 0:
        return path
    if found.stat().st_mode & wanted == wanted and all(parent.stat().st_mode & 0o001 for parent in found.parents):
        return path
    copy = folder / path.name
    if not copy.exists():
        if found.is_dir():
            shutil.copytree(found, copy, symlinks=True)
        else:
            shutil.copy(found, copy)
        copy.chmod(copy.stat().st_mode | wanted)
    return copy
