# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names and passwords for the clients of a libvirtd, by SASL, and the auth.conf of a client that knows one."""

from __future__ import annotations

import os
import pathlib

from . import packages
from .software import Software

SETTINGS = """\
mech_list: scram-sha-256
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {passwords}
"""
AUTH_CONF = """\
[credentials-lab]
authname={name}@lab
password={password}

[auth-libvirt-default]
credentials=lab
"""


def make(folder: pathlib.Path, software: Software, name: str, password: str) -> None:
    """Write what a libvirtd needs into a folder, its SASL_CONF_PATH, to accept this name and password only."""
    passwords = folder / "passwords.db"
    (folder / "libvirt.conf").write_text(SETTINGS.format(passwords=passwords), encoding="utf-8")
    command = [*software.command("usr/sbin/saslpasswd2"), "-p", "-a", "libvirt", "-f", passwords, "-u", "lab", name]
    environment = {**os.environ, **software.environment, "SASL_CONF_PATH": os.fspath(folder)}
    packages.run(command, input=password, env=environment)


def auth_file(path: pathlib.Path, name: str, password: str) -> pathlib.Path:
    """Write an auth.conf that only this user can read."""
    path.touch(mode=0o600)
    path.write_text(AUTH_CONF.format(name=name, password=password), encoding="utf-8")
    return path
