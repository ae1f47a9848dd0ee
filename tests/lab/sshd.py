# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A private sshd on the loopback interface, with its own keys and settings, and the ssh that connects to it."""

from __future__ import annotations

import contextlib
import getpass
import os
import pathlib
import shlex
import shutil
import signal
import socket
import tempfile
import time
import typing as t

from . import LabError, packages, unprivileged_user
from .keeper import Watchdog
from .processes import free_port
from .root import Root

PACKAGES = ("openssh-server", "openssh-client")
# Since OpenSSH 9.8, parts of it are programs of their own, which are looked for in the host's folders.
PARTS = {"SshdSessionPath": "sshd-session", "SshdAuthPath": "sshd-auth"}
SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
SetEnv PATH={folder}/bin:/usr/bin:/bin
Subsystem sftp internal-sftp
{parts}
"""
CLIENT = """\
Host *
    Port {port}
    User {user}
    IdentityFile {folder}/user_key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
"""
# The user that sshd runs as logs in: with a shell, a home and no locked password, in a mount namespace of its own.
OWN_USER = """\
mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/shadow" /etc/shadow || exit
exec setpriv --reuid {uid} --regid {gid} --clear-groups -- "$@"
"""
PATIENCE = 20


class Sshd:
    """sshd and its sessions, ended when the ``with`` block is left or this process dies.

    It has no rights of root, so that one user can log in: if this process is root, a user of these ids, and else this
    process's own user.
    """

    def __init__(self, uid: int = unprivileged_user.UNPRIVILEGED, gid: int = unprivileged_user.UNPRIVILEGED) -> None:
        self._ids = (uid, gid)
        self.user = "operator" if os.geteuid() == 0 else getpass.getuser()
        self.folder = pathlib.Path()
        self.port = 0
        self._pid = 0
        self._keeper: Watchdog | None = None

    def __enter__(self) -> Sshd:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ssh-", dir="/tmp"))
        self._keeper = Watchdog(self.folder)
        try:
            self._furnish()
            self.start()
        except BaseException:
            self._keeper.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self._keeper:
            self._keeper.close()

    @property
    def ssh(self) -> pathlib.Path:
        """The program that connects to it, of ssh's arguments, whatever this user's own settings are."""
        return self.folder / "ssh"

    @property
    def key(self) -> pathlib.Path:
        """The private key of the user that may log in."""
        return self.folder / "user_key"

    def add_program(self, name: str, command: t.Sequence[str], environment: t.Mapping[str, str]) -> None:
        """Let its sessions find a program by its name."""
        _write_program(self.folder / "bin" / name, command, environment)

    def start(self) -> None:
        """Start it, and return when it accepts connections."""
        if not self._keeper:
            raise LabError("this sshd has no keeper")
        tree = self._tree
        command = [
            *tree.command(tree.folder / "usr/sbin/sshd"),
            "-D",
            "-e",
            "-f",
            os.fspath(self.folder / "sshd_config"),
        ]
        if os.geteuid() == 0:
            script = OWN_USER.format(uid=self._ids[0], gid=self._ids[1])
            command = ["unshare", "--mount", "sh", "-c", script, os.fspath(self.folder), *command]
        self._pid = self._keeper.start(command, self.folder / "sshd.log", env={**os.environ, **tree.environment})
        deadline = time.monotonic() + PATIENCE
        while not self._accepts():
            if time.monotonic() > deadline:
                raise LabError(f"sshd does not accept connections: {self.log}")
            time.sleep(0.02)

    @property
    def log(self) -> str:
        """Its output so far."""
        return (self.folder / "sshd.log").read_text(encoding="utf-8", errors="replace").strip()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to all processes of its sessions."""
        for pid in _descendants(self._pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @property
    def _tree(self) -> Root:
        return Root(self.folder / "software")

    def _accepts(self) -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0

    def _furnish(self) -> None:
        self.folder.chmod(0o755)
        shutil.copytree(_software(), self._tree.folder, symlinks=True)
        for name in ("bin", "home"):
            (self.folder / name).mkdir(mode=0o755)
        self.port = free_port()
        for name in ("host_key", "user_key"):
            self._run("usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.fspath(self.folder / name))
        public = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}\n")
        tree = self._tree.folder
        parts = (
            f"{key} {tree}/usr/lib/openssh/{name}"
            for key, name in PARTS.items()
            if (tree / f"usr/lib/openssh/{name}").exists()
        )
        for name, text in (("sshd_config", SERVER), ("ssh_config", CLIENT)):
            filled = text.format(folder=self.folder, port=self.port, user=self.user, parts="\n".join(parts))
            (self.folder / name).write_text(filled)
        uid, gid = self._ids
        (self.folder / "passwd").write_text(
            f"root:x:0:0:root:/root:/bin/sh\n{self.user}:x:{uid}:{gid}::{self.folder / 'home'}:/bin/sh\n"
        )
        (self.folder / "shadow").write_text(f"{self.user}:*:::::::\n")
        if os.geteuid() == 0:
            for path in (self.folder / "host_key", self.folder / "home"):
                os.chown(path, uid, gid)
        client = [*self._tree.command(tree / "usr/bin/ssh"), "-F", os.fspath(self.folder / "ssh_config")]
        _write_program(self.ssh, client, self._tree.environment)

    def _run(self, program: str, *words: str) -> None:
        tree = self._tree
        packages.run([*tree.command(tree.folder / program), *words], env={**os.environ, **tree.environment})


def _software() -> pathlib.Path:
    """Return the folder where OpenSSH is unpacked, unpacking it the first time."""
    with packages.locked("openssh"):
        debs = packages.Archive().fetch(PACKAGES, packages.LIBRARIES)
        name = next(deb.stem for deb in debs if deb.name.startswith("openssh-server_")).replace("%3a", "-")
        target = packages.cache() / "openssh" / name
        if not target.exists():
            with packages.appearing(target) as folder:
                packages.unpack(debs, folder)
    return target


def _write_program(path: pathlib.Path, command: t.Sequence[str], environment: t.Mapping[str, str]) -> None:
    variables = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in environment.items())
    path.write_text(f'#!/bin/sh\n{variables}exec {shlex.join(command)} "$@"\n', encoding="utf-8")
    path.chmod(0o755)


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in task.read_text().split():
                found += _descendants(int(child))
    return found
