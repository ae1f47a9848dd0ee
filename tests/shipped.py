# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Show what Ansible ships to a hypervisor for each module, as a table or with --json file by file.

Ansible's own code builds what it would send; the files of this collection in it are counted.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import sys
import zipfile
import zlib

from conftest import collections_path

MODULES = ("vcpu", "vcpu_batch", "vcpu_info")
OURS = "ansible_collections/kvm/hotplug/plugins/"
# The archive is by far the longest string in what is sent.
ARCHIVE = re.compile(rb"[A-Za-z0-9+/]{1000,}={0,2}")


def shipped(module: str) -> dict[str, bytes]:
    """Return the files of this collection that are sent for a module: their paths below plugins/, and what is in them.

    Ansible sends the module itself too; empty files of packages are left out.
    """
    from ansible.executor.module_common import modify_module
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar

    built = modify_module(
        module_name=f"kvm.hotplug.{module}",
        module_path=str(collections_path() / OURS / "modules" / f"{module}.py"),
        module_args={},
        templar=Templar(loader=DataLoader()),
        task_vars={"ansible_python_interpreter": sys.executable},
        module_compression="ZIP_STORED",
    )
    sent = built.b_module_data if hasattr(built, "b_module_data") else built[0]
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(max(ARCHIVE.findall(sent), key=len))))
    return {
        name[len(OURS) :]: archive.read(name)
        for name in sorted(archive.namelist())
        if name.startswith(OURS) and archive.getinfo(name).file_size
    }


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print each module's files and their bytes")
    options = parser.parse_args()

    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader([str(collections_path())])
    found = {module: shipped(module) for module in MODULES}
    if options.json:
        print(
            json.dumps({module: {name: len(data) for name, data in files.items()} for module, files in found.items()})
        )
        return
    print(f"{'module':<12}{'files':>6}{'kB':>8}{'kB compressed':>15}")
    for module, files in found.items():
        sizes = sum(map(len, files.values())), sum(len(zlib.compress(data)) for data in files.values())
        print(f"{module:<12}{len(files):>6}{sizes[0] / 1000:>8.0f}{sizes[1] / 1000:>15.0f}")


if __name__ == "__main__":
    main()
