# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root folders of the distribution that runs here, to try roles in.

One is made by debootstrap, with all packages that the roles may want in its cache, and kept; the others are its copies.
Nothing stays mounted: what has to be mounted meanwhile is, where only the process that needs it can see it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import shutil
import sys
import typing as t

from lab import LabError, cache, packages

# What a machine has before a role comes to it, and what the roles may install.
PRESENT = ["ca-certificates", "python3", "python3-apt", "systemd-sysv", "udev"]
WANTED = ["python3-libvirt", "python3-lxml", "python3-packaging", "python3-venv", "qemu-guest-agent"]
WHEELS = ["qemu.qmp>=0.0.6"]

# No role, package or program in there sees the mounts, the processes or the network of this machine.
APART = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def why_not() -> str:
    """Tell why no root folder can be made here, if so."""
    if os.geteuid() != 0:
        return "root folders can only be made by root"
    missing = [name for name in ("debootstrap", "unshare") if not shutil.which(name)]
    if missing:
        return f"{' and '.join(missing)} is not installed"
    try:
        packages.os_release()
        packages.run([*APART, "true"])
    except LabError as error:
        return str(error)
    return ""


def base() -> pathlib.Path:
    """Return the root folder that the others are copies of; make it if it is not there."""
    codename = packages.os_release()["VERSION_CODENAME"]
    recipe = hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()[:16]
    target = cache() / "roots" / f"{codename}-{recipe}"
    with packages.locked("roots"):
        if not target.exists():
            for old in target.parent.glob(f"{codename}-*"):
                remove(old)
            with packages.appearing(target) as folder:
                _bootstrap(folder)
    return target


def _bootstrap(folder: pathlib.Path) -> None:
    distribution, codename = packages.os_release()["ID"], packages.os_release()["VERSION_CODENAME"]
    components = "main" if distribution == "debian" else "main,universe"
    mirrors = _mirrors()
    print(f"making a root folder of {distribution} {codename}", flush=True)
    options = ["--variant=minbase", f"--components={components}", f"--include={','.join(PRESENT)}"]
    packages.run([*APART, "debootstrap", *options, codename, folder, mirrors[codename]])
    for name, text in {
        "etc/apt/sources.list": "".join(
            f"deb {uri} {release} {components.replace(',', ' ')}\n" for release, uri in mirrors.items()
        ),
        "etc/apt/apt.conf.d/90lab": "".join(
            f"{line}\n" for line in packages.run(["apt-config", "dump"]).splitlines() if line.startswith("Acquire::")
        ),
        # No package may start anything.
        "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
        "etc/pip.conf": "[global]\nno-index = true\nfind-links = /var/cache/wheels\n",
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "usr/sbin/policy-rc.d").chmod(0o755)
    shutil.copyfile("/etc/resolv.conf", folder / "etc/resolv.conf")
    apt = [*APART, f"--root={folder}", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    packages.run([*apt, "update"])
    packages.run([*apt, "clean"])
    packages.run([*apt, "install", "--download-only", "-y", "--no-install-recommends", *WANTED])
    wheels = folder / "var/cache/wheels"
    packages.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, *WHEELS])


def _mirrors() -> t.Mapping[str, str]:
    """Return the archives that this machine's apt takes its distribution from, by release."""
    codename = packages.os_release()["VERSION_CODENAME"]
    command = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]
    found = dict(t.cast("tuple[str, str]", line.split()) for line in packages.run(command).splitlines())
    mirrors = {name: found[name] for name in (codename, f"{codename}-updates", f"{codename}-security") if name in found}
    if codename not in mirrors:
        raise LabError(f"apt knows no archive of {codename}: add it to its sources, then run apt-get update")
    return mirrors


def make(folder: pathlib.Path) -> None:
    """Make a root folder."""
    remove(folder)
    with packages.appearing(folder) as copy:
        packages.run(["cp", "--archive", "--reflink=auto", f"{base()}/.", copy])
        # Its lists are as new as the packages in its cache.
        (copy / "var/lib/apt/periodic/update-success-stamp").touch()


def remove(folder: pathlib.Path) -> None:
    """Remove a root folder, unless something is mounted in it."""
    inside = f"{folder.resolve()}/"
    mounts = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    mounted = [line.split()[4] for line in mounts.splitlines() if f"{line.split()[4]}/".startswith(inside)]
    if mounted:
        raise LabError(f"not removed, for something is mounted there: {' '.join(mounted)}")
    if folder.exists():
        shutil.rmtree(folder)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=t.cast(str, __doc__).partition("\n")[0])
    parser.add_argument("action", choices=["ask", "make", "remove"], help="ask: tell why none can be made here, if so")
    parser.add_argument("folders", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    try:
        if arguments.action == "ask":
            print(why_not(), end="")
        for folder in arguments.folders:
            {"make": make, "remove": remove}[arguments.action](folder.absolute())
    except LabError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
