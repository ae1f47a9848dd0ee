# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demo: boot a guest of two NUMA nodes, take it through playbooks/demo.yml, and leave nothing behind.

The guest runs under KVM where a Linux guest gets ready under it, else under TCG.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import binaries, image, kvm
from lab.guest import Guest

TESTS = Path(__file__).absolute().parent

# What the guest's next boot has.
DOMAIN = """\
<domain type='{type}'>
  <name>demo</name>
  <memory unit='MiB'>256</memory>
  <vcpu current='2'>8</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu>
    <topology sockets='4' cores='2' threads='1'/>
    <numa>
      <cell id='0' cpus='0-3' memory='128' unit='MiB'/>
      <cell id='1' cpus='4-7' memory='128' unit='MiB'/>
    </numa>
  </cpu>
</domain>
"""


def main() -> int:
    """Return the playbook's exit status."""
    print("Preparing QEMU and a guest's kernel, which is downloaded the first time ...", flush=True)
    binaries.prepare()
    image.image()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        guest, seconds, under = kvm.boot_linux(
            stack,
            folder,
            name="demo",
            smp="2,sockets=4,cores=2,threads=1,maxcpus=8",
            numa=[{"sockets": [0, 1]}, {"sockets": [2, 3]}],
            agent=True,
        )
        print(f"Booted a Linux guest on {guest.qemu} in {seconds:.0f} s, under {under}.", flush=True)
        guest.hang_up()
        domain_xml = Path(folder, "demo.xml")
        domain_xml.write_text(DOMAIN.format(type="kvm" if under == "KVM" else "qemu"), encoding="utf-8")
        return _play(guest, domain_xml)


def _play(guest: Guest, domain_xml: Path) -> int:
    variables = {
        "qmp_socket": guest.qmp_socket,
        "agent_socket": guest.agent_socket,
        "domain_xml": str(domain_xml),
        "guest_command": [sys.executable, "-m", "lab", "shell", guest.shell_socket],
        "ansible_python_interpreter": sys.executable,
    }
    command = [sys.executable, "-m", "ansible", "playbook", "kvm.hotplug.demo", "--diff"]
    return subprocess.run(
        [*command, "--inventory", "localhost,", "--extra-vars", json.dumps(variables)],
        env={**os.environ, "PYTHONPATH": str(TESTS), "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
