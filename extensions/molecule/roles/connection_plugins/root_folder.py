# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run modules in a root folder, apart from the machine around it."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: root_folder
short_description: Run modules in a root folder
description:
  - Each command has mounts, processes and a network of its own, which end with it. There is no network but loopback's.
author: the kvm.hotplug authors (@kvm-hotplug)
version_added: 1.0.0
options:
  folder:
    description: The root folder.
    required: true
    vars:
      - name: root_folder
extends_documentation_fragment:
  - connection_pipelining
"""

APART = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
ENVIRONMENT = [
    "HOME=/root",
    "LANG=C.UTF-8",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    # The first process is not systemd, and does not become it: as while an image is made.
    "SYSTEMD_OFFLINE=1",
    "debian_chroot=molecule",
]


class Connection(ConnectionBase):
    """The way into a root folder."""

    transport = "root_folder"
    has_pipelining = True

    def _connect(self) -> Connection:
        if not pathlib.Path(self.get_option("folder"), "usr").is_dir():
            raise AnsibleConnectionFailure(f"there is no root folder at {self.get_option('folder')}")
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        inside = ["env", "--ignore-environment", *ENVIRONMENT, "/bin/sh", "-c", cmd]
        command = [*APART, f"--root={self.get_option('folder')}", *inside]
        done = subprocess.run(command, input=in_data or b"", capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        super().put_file(in_path, out_path)
        shutil.copyfile(in_path, self._seen_from_here(out_path))

    def fetch_file(self, in_path: str, out_path: str) -> None:
        super().fetch_file(in_path, out_path)
        shutil.copyfile(self._seen_from_here(in_path), out_path)

    def close(self) -> None:
        self._connected = False

    def _seen_from_here(self, path: str) -> pathlib.Path:
        root = pathlib.Path(self.get_option("folder")).resolve()
        seen = (root / path.lstrip("/")).resolve()
        if root not in seen.parents:
            raise AnsibleConnectionFailure(f"{path} leads out of {root}")
        return seen
