# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A private libvirtd: unprivileged, below one folder, and ended with the process that started it."""

from __future__ import annotations

import grp
import os
import pathlib
import shlex
import signal
import socket
import tempfile
import time
import typing as t
import uuid

from . import LabError, binaries, packages, processes, relay, sasl, unprivileged_user
from .architectures import ARCHITECTURES
from .guest import KNOWN_HYPERVISOR
from .keeper import Watchdog
from .software import Software, software

OWN = ("run", "config", "cache", "data", "home", "guests")
SETTINGS = """\
stdio_handler = "file"
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
"""
# libvirt also asks a QEMU that is no guest's what it can do. A Linux guest gets its CPU, and every guest a monitor and
# the relay without libvirt knowing: a domain with arguments in its XML would be a tainted one.
EMULATOR = """\
#!/bin/sh
unset LD_LIBRARY_PATH
name=
for word; do
    case $word in guest=*) name=${{word#guest=}} name=${{name%%,*}} ;; esac
done
if [ -e "{folder}/$name.relayed" ]; then
    for word; do
        shift
        case $word in
            socket,id=charmonitor,fd=*)
                descriptor=${{word#*,fd=}}
                PATH=/usr/bin:/bin {python} {relay} "${{descriptor%%,*}}" "{folder}/$name.monitor" &
                word="socket,id=charmonitor,path={folder}/$name.monitor,server=on,wait=off"
                ;;
        esac
        set -- "$@" "$word"
    done
fi
[ -n "$name" ] && [ ! -e "{folder}/$name.ospm" ] && set -- "$@" {linux}
{environment}
[ -n "$name" ] || exec {command} "$@"
exec {command} "$@" -mon chardev=labobserver,mode=control \\
    -chardev "socket,id=labobserver,path={folder}/$name.observer,server=on,wait=off"
"""
PATIENCE = 60


class Daemon:
    """libvirtd and the QEMUs of its domains, ended when the ``with`` block is left or this process dies.

    It runs in session mode, as the user nobody if this process is root. Such a daemon has no read-only socket: a client
    that opens a read-only connection uses the same URI.
    """

    def __init__(
        self,
        release: str = packages.DISTRIBUTION,
        tls: bool = False,
        for_group: bool = False,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        """Describe a libvirtd of a release.

        With `tls` it also listens on the loopback interface; with `for_group`, other users of its user's group may
        connect too; with `credentials`, clients of its socket have to know this name and password.
        """
        self.release = release
        self._for_group = for_group
        self._credentials = credentials
        self.tls_port = processes.free_port() if tls else None
        self.folder = pathlib.Path()
        self.software = Software(self.folder)
        self._keeper: Watchdog | None = None
        self._pid = 0

    def __enter__(self) -> Daemon:
        # Sockets' paths have to be short, and tests' own folders are closed to the user that libvirtd runs as.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lv-", dir="/tmp"))
        self._keeper = Watchdog(self.folder)
        try:
            self._furnish()
            self.start_daemon()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @classmethod
    def attach(cls, state: t.Mapping[str, t.Any]) -> Daemon:
        """Return one that another process started and left, by its `state`; it cannot be stopped or started here."""
        daemon = cls(state["release"])
        daemon.folder = pathlib.Path(state["folder"])
        daemon.software = Software(pathlib.Path(state["software"]))
        daemon._pid = state["pid"]
        return daemon

    def stay(self) -> None:
        """Let it outlive this process, until its keeper gets SIGTERM."""
        self._kept().stay()

    def close(self) -> None:
        """End the daemon and its domains' QEMUs, and remove all that it had."""
        if self._keeper:
            self._keeper.close()
        self._keeper = None

    @property
    def uri(self) -> str:
        """Where its clients connect to."""
        return f"qemu:///session?socket={self._socket}"

    @property
    def tls_uri(self) -> str:
        """Where its clients connect to by TLS, with a certificate that it accepts."""
        if self.tls_port is None:
            raise LabError("this libvirtd does not listen")
        return f"qemu+tls://127.0.0.1:{self.tls_port}/session?pkipath={self._certificates}"

    @property
    def version(self) -> tuple[int, ...]:
        """Its version."""
        return self.software.version

    @property
    def environment(self) -> dict[str, str]:
        """What a client process needs in its environment."""
        return self.software.environment

    @property
    def python(self) -> str:
        """The interpreter that the bindings in the environment are for."""
        return self.software.python

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        if not self.running:
            raise LabError("libvirtd is not running")
        return self._pid

    @property
    def state(self) -> dict[str, t.Any]:
        """All that another process needs to know of it."""
        keeper = self._kept().pid
        return {
            "uri": self.uri,
            "version": ".".join(str(number) for number in self.version),
            "python": self.python,
            "environment": self.environment,
            "pid": self.pid,
            "keeper": keeper,
            "keeper_started": processes.started(keeper),
            "release": self.release,
            "folder": os.fspath(self.folder),
            "software": os.fspath(self.software.root),
        }

    @property
    def running(self) -> bool:
        """Whether the daemon runs."""
        return bool(self._pid) and processes.started(self._pid) is not None

    @property
    def log(self) -> str:
        """The output of the daemon so far."""
        return (self.folder / "libvirtd.log").read_text(encoding="utf-8", errors="replace").strip()

    def virsh(self, *words: str, readonly: bool = False, timeout: float = PATIENCE) -> str:
        """Run virsh against the daemon and return its output; `LabError` when it fails."""
        command = [*self.software.command("usr/bin/virsh"), "-q", *(["-r"] if readonly else []), "-c", self.uri, *words]
        environment = {**self._client(), **self.environment, "LIBVIRT_AUTH_FILE": os.fspath(self._auth_file)}
        return packages.run(command, cwd="/", timeout=timeout, env=environment)

    def start_daemon(self) -> None:
        """Start the daemon, which finds its domains again, and return when it answers."""
        if self.running:
            return
        libvirtd = [*self.software.command("usr/sbin/libvirtd"), *(["--listen"] if self.tls_port else [])]
        command, user = unprivileged_user.with_kvm(libvirtd, self.folder / "dev")
        self._pid = self._kept().start(
            command,
            self.folder / "libvirtd.log",
            cwd=os.fspath(self.software.data),
            env=self._own(),
            umask=0o22,
            **user,
        )
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            if not self.running or time.monotonic() > deadline:
                raise LabError(f"libvirtd does not answer: {self.log}")
            time.sleep(0.02)
        self.virsh("version")

    def stop_daemon(self, hard: bool = False) -> None:
        """End the daemon, by SIGTERM or SIGKILL; its domains continue to run."""
        if self.running and not self._kept().end(self._pid, signal.SIGKILL if hard else signal.SIGTERM, PATIENCE):
            raise LabError(f"libvirtd, process {self._pid}, does not end: {self.log}")

    def restart(self, hard: bool = False) -> None:
        """End the daemon and start it again."""
        self.stop_daemon(hard)
        self.start_daemon()

    def emulator(self, qemu: binaries.Qemu | None = None) -> pathlib.Path:
        """Return what a domain is to have as its emulator: the default QEMU, or this one."""
        default = binaries.default()
        qemu = qemu or default
        version = ".".join(str(number) for number in qemu.version)
        path = self.folder / "bin" / ("qemu-system-x86_64" if qemu == default else f"qemu-{version}")
        if not path.exists():
            own = binaries.secluded(qemu)
            if own.root:
                root = self.lend(own.root)
                own = binaries.Qemu(root / own.path.relative_to(own.root), own.version, root)
            script = EMULATOR.format(
                environment="\n".join(f"export {key}={shlex.quote(value)}" for key, value in own.variables.items()),
                command=shlex.join(own.command),
                linux=shlex.join(["-cpu", ARCHITECTURES["x86_64"].cpu, *KNOWN_HYPERVISOR]),
                folder=self.folder / "guests",
                python=self.python,
                relay=self.lend(pathlib.Path(relay.__file__)),
            )
            path.write_text(script, encoding="utf-8")
            path.chmod(0o755)
        return path

    def lend(self, path: pathlib.Path) -> pathlib.Path:
        """Return a file or a tree that the daemon's user can read: itself, or a copy."""
        return unprivileged_user.lend(path, self.folder / "lent")

    @property
    def _socket(self) -> pathlib.Path:
        return self.runtime / "libvirt/libvirt-sock"

    @property
    def runtime(self) -> pathlib.Path:
        """The folder where clients with this as XDG_RUNTIME_DIR find its socket."""
        return self.folder / ("shared" if self._for_group else "run")

    def _kept(self) -> Watchdog:
        if not self._keeper:
            raise LabError("this libvirtd is not ours to start and to stop")
        return self._keeper

    def _furnish(self) -> None:
        self.folder.chmod(0o755)
        for name in ("bin", "dev", "lent", *OWN):
            (self.folder / name).mkdir(mode=0o755)
        settings = self.folder / "config/libvirt/qemu.conf"
        settings.parent.mkdir()
        settings.write_text(SETTINGS, encoding="utf-8")
        # To migrate to another daemon of the same host, libvirt has to take them for two.
        identity = settings.with_name("libvirtd.conf")
        identity.write_text(f'host_uuid = "{uuid.uuid4()}"\n{self._listening()}{self._sharing()}', encoding="utf-8")
        unprivileged_user.give(*(self.folder / name for name in OWN), settings.parent, settings, identity)
        self.software = Software(self.lend(software(self.release).root))
        self.emulator()
        if self._credentials:
            self._sasl.mkdir()
            sasl.make(self._sasl, self.software, *self._credentials)
            unprivileged_user.give(*self._sasl.iterdir())
            sasl.auth_file(self._auth_file, *self._credentials)

    @property
    def _certificates(self) -> pathlib.Path:
        return self.folder / "config/certificates"

    @property
    def _sasl(self) -> pathlib.Path:
        return self.folder / "config/sasl"

    @property
    def _auth_file(self) -> pathlib.Path:
        """Where virsh finds the credentials, if it needs any."""
        return self.folder / "home/auth.conf"

    def _listening(self) -> str:
        """Return its settings for TLS, and make the certificates."""
        if self.tls_port is None:
            return ""
        # Not every laboratory has the library that this needs.
        from . import certificates

        folder = self._certificates
        folder.mkdir()
        certificates.make(folder)
        unprivileged_user.give(*folder.iterdir())
        files = {"key": "serverkey", "cert": "servercert", "ca": "cacert"}
        return f'listen_tcp = 0\nlisten_tls = 1\nlisten_addr = "127.0.0.1"\ntls_port = "{self.tls_port}"\n' + "".join(
            f'{setting}_file = "{folder / name}.pem"\n' for setting, name in files.items()
        )

    def _sharing(self) -> str:
        """Return its settings for the clients of its socket, and make the folder of the socket for other users."""
        authentication = 'auth_unix_rw = "sasl"\n' if self._credentials else ""
        if not self._for_group:
            return authentication
        folder = self._socket.parent
        folder.mkdir(parents=True)
        # A client of a session's libvirtd has a lock there.
        folder.chmod(0o775)
        unprivileged_user.give(folder)
        group = grp.getgrgid(folder.stat().st_gid).gr_name
        sharing = f'unix_sock_dir = "{folder}"\nunix_sock_group = "{group}"\nunix_sock_rw_perms = "0770"\n'
        return sharing + authentication

    def _client(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": os.fspath(self.folder / "home")}

    def _own(self) -> dict[str, str]:
        folders = {f"XDG_{name.upper()}_HOME": os.fspath(self.folder / name) for name in ("config", "cache", "data")}
        return {
            **self._client(),
            **folders,
            # With the host's QEMUs in reach, libvirt would ask each of them what it can do.
            "PATH": os.fspath(self.folder / "bin"),
            "XDG_RUNTIME_DIR": os.fspath(self.folder / "run"),
            **self.software.environment,
            "SASL_CONF_PATH": os.fspath(self._sasl),
            "LIBVIRT_DRIVER_DIR": os.fspath(self.software.libraries / "libvirt/connection-driver"),
        }

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as attempt:
            return attempt.connect_ex(os.fspath(self._socket)) == 0
