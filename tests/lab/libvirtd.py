# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt's QEMU driver embedded in virsh: its own root, no daemon, and nothing of the host's libvirt is touched."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
import types
import typing as t

from . import packages, unprivileged_user
from .software import Software, software


class Libvirt:
    """A libvirt of the distribution in its own folder, as a ``with`` block."""

    def __init__(self, release: str = packages.DISTRIBUTION) -> None:
        self._release = release
        self.folder = pathlib.Path()
        self._software = Software(self.folder)

    def __enter__(self) -> Libvirt:
        # Tests' own folders are closed to the user that libvirt runs as.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lab-libvirt-"))
        try:
            self.folder.chmod(0o755)
            for name in ("root", "home", "run", "domains"):
                folder = self.folder / name
                folder.mkdir(mode=0o700)
                unprivileged_user.give(folder)
            self._software = Software(unprivileged_user.lend(software(self._release).root, self.folder))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: types.TracebackType | None,
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def version(self) -> str:
        """Its version."""
        return self.virsh("--version", connect=False).strip()

    @property
    def grammar(self) -> pathlib.Path:
        """Its RELAX NG grammar of domains."""
        return self._software.data / "schemas/domain.rng"

    def defined(self, domains: t.Mapping[str, bytes]) -> dict[str, str]:
        """Define domains by their names and return the XML of each afterwards, or libvirt's error."""
        script = []
        for name, data in domains.items():
            file = self.folder / "domains" / f"{name}.xml"
            file.write_bytes(data)
            file.chmod(0o644)
            script += [f"echo ::{name}", f"define {file}", f"dumpxml {name} --inactive", f"undefine {name}"]
        (self.folder / "domains").chmod(0o755)
        output = self.virsh("; ".join(script))
        answers = {}
        for part in output.split("::")[1:]:
            name, _end, said = part.partition("\n")
            start = said.find("<domain ")
            if start >= 0:
                answers[name] = said[start : said.index("</domain>") + len("</domain>")]
            else:
                answers[name] = " ".join(said.split())
        return answers

    def virsh(self, *words: str, connect: bool = True) -> str:
        """Run virsh and return its output."""
        uri = ["-c", f"qemu:///embed?root={self.folder / 'root'}"] if connect else []
        virsh = self._software.command("usr/bin/virsh")
        command = ["sh", "-c", '"$@" 2>&1; true', "sh", *virsh, *uri, *words]
        return packages.run(
            command,
            cwd=self._software.data,
            timeout=120,
            env={
                "PATH": "/usr/bin:/bin",
                "LC_ALL": "C.UTF-8",
                "HOME": os.fspath(self.folder / "home"),
                "XDG_RUNTIME_DIR": os.fspath(self.folder / "run"),
                **self._software.tree.environment,
                "LIBVIRT_DRIVER_DIR": os.fspath(self._software.libraries / "libvirt/connection-driver"),
            },
            **unprivileged_user.user(),
        )
