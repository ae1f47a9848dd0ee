# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the collection's modules without Ansible, in a fifth of the time, and check the outcome by QEMU itself."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab import observer
from lab.contact import Contact
from lab.daemon import Daemon
from lab.domains import LibvirtGuest
from lab.guest import Guest

from . import forked_modules

COLLECTIONS = Path(__file__).absolute().parents[3] / ".cache" / "collections"
PACKAGE = "ansible_collections.kvm.hotplug.plugins.modules"
# What a task may take besides the guest: Ansible itself, on a loaded machine.
PATIENCE = 120


class Result(dict):
    """What a task returned; ``diff`` and ``warnings`` are what Ansible printed of it."""

    diff = ""
    warnings = ""

    @property
    def steps(self) -> list[str]:
        """The steps in short: ``plug 4 done``."""
        return [f"{step['step']} {step['vcpus']} {step['status']}" for step in self["steps"]]

    def enabled(self, scope: str = "live") -> list[int]:
        return [vcpu["id"] for vcpu in self["vcpus"] if vcpu[scope] == "enabled"]


@functools.cache
def _ansible() -> Path:
    """A folder that has Ansible and nothing else, so that another Python can import it."""
    spec = importlib.util.find_spec("ansible")
    assert spec is not None
    assert spec.origin is not None
    folder = COLLECTIONS.parent / "ansible-alone"
    folder.mkdir(exist_ok=True)
    link = folder / "ansible"
    target = Path(spec.origin).parent
    if not link.exists() or link.resolve() != target.resolve():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            new = Path(scratch, "ansible")
            new.symlink_to(target)
            new.rename(link)
    return folder


def run_module(
    module: str, check: bool = False, client: Daemon | None = None, packages: Path | None = None, **options: Any
) -> Result:
    """Run a module on this machine, with a diff, and return its result, failed or not.

    The module of a ``client`` of a libvirtd runs as on a hypervisor: by the system's own Python, with its packages, and
    those in the folder ``packages``.
    """
    if forked_modules.possible():
        (python, _minus_m, name), environment = module_command(module, client, packages)
        output, errors = forked_modules.run(python, name, environment, arguments(check, **options), PATIENCE)
    else:
        process = module_process(module, check, client, packages, **options)
        try:
            output, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert "Traceback" not in output + errors, output + errors
    assert output, errors
    result = Result(json.loads(output))
    result.diff = "".join(_lines(result.get("diff", [])))
    result.warnings = " ".join(json.dumps(warning) for warning in result.get("warnings", []))
    return result


def module_process(
    module: str, check: bool = False, client: Daemon | None = None, packages: Path | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start a module as ``run_module`` does, and return its process."""
    return start_module(module_command(module, client, packages), check, **options)


def module_command(
    module: str, client: Daemon | None = None, packages: Path | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs a module as ``run_module`` does, and its environment."""
    python, libraries = interpreter(client, packages)
    paths = [str(COLLECTIONS), str(_ansible()), *python_path(libraries).values()]
    environment = {**os.environ, **libraries, "PYTHONPATH": os.pathsep.join(paths)}
    return [python, "-m", f"{PACKAGE}.{module.rpartition('.')[2]}"], environment


def start_module(
    command: tuple[list[str], dict[str, str]], check: bool = False, **options: Any
) -> subprocess.Popen[str]:
    """Start a module by its command and environment, with these options."""
    words, environment = command
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(arguments(check, **options))
    process.stdin.close()
    process.stdin = None  # so that communicate() does not use it
    return process


def arguments(check: bool = False, **options: Any) -> str:
    """Return what a module reads from its standard input."""
    return json.dumps({"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check, "_ansible_diff": True}})


def _lines(diff: dict[str, str] | list[dict[str, str]]) -> Iterator[str]:
    for part in [diff] if isinstance(diff, dict) else diff:
        lines = difflib.unified_diff(part["before"].splitlines(keepends=True), part["after"].splitlines(keepends=True))
        yield from (line for line in lines if line.startswith(("+vCPU", "-vCPU")))


def interpreter(client: Daemon | None, packages: Path | None) -> tuple[str, dict[str, str]]:
    """Return the Python of a module, and what its environment needs beside the one of this process."""
    python, libraries = (sys.executable, {}) if client is None else (client.python, dict(client.environment))
    if packages is not None:
        libraries["PYTHONPATH"] = os.pathsep.join(filter(None, [str(packages), libraries.get("PYTHONPATH")]))
    return python, libraries


def python_path(libraries: Mapping[str, str]) -> dict[str, str]:
    """Return a module's PYTHONPATH: the one of its libraries, and that of this process, where its coverage is from."""
    paths = [path for path in (libraries.get("PYTHONPATH"), os.environ.get("PYTHONPATH")) if path]
    return {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}


def wait_online(guest: Contact, count: int, timeout: float = 30) -> None:
    """Wait until the guest's own system runs on this many CPUs: its udev takes a moment after the acknowledgement."""
    deadline = time.monotonic() + timeout
    while len(observer.guest_cpus(guest)) != count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the guest runs on {observer.guest_cpus(guest)} after {timeout} s, not on {count} CPUs")
        time.sleep(0.1)


class Vcpu:
    """The module ``kvm.hotplug.vcpu`` on one guest."""

    run = staticmethod(run_module)

    def __init__(self, guest: Guest | LibvirtGuest, domain_xml: Path | None = None) -> None:
        self.guest = guest
        self.client: Daemon | None = None
        self.source: dict[str, Any] = {}
        if isinstance(guest, LibvirtGuest):
            self.client = guest.daemon
            self.source = {"name": guest.name, "uri": guest.daemon.uri}
        else:
            self.source["qmp_socket"] = guest.qmp_socket
        if domain_xml is not None:
            self.source["domain_xml"] = str(domain_xml)

    def __call__(self, check: bool = False, **options: Any) -> Result:
        # Failures too are to return all vCPUs.
        return self.run("kvm.hotplug.vcpu", check, self.client, **{"details": "full", **self.source, **options})

    def info(self, **options: Any) -> Result:
        """Return what ``vcpu_info`` says of the guest."""
        result = self.run("kvm.hotplug.vcpu_info", False, self.client, **{**self.source, **options})
        assert result["changed"] is False
        return Result(result["guests"][0])

    def converges(self, wanted: list[int], **options: Any) -> Result:
        """Check, apply, check and apply again; QEMU itself is asked after each; return what was applied."""
        found = observer.enabled_ids(self.guest.observer)
        predicted = self(check=True, **options)
        assert observer.enabled_ids(self.guest.observer) == found, "check mode changed the guest"
        applied = self(**options)
        assert observer.enabled_ids(self.guest.observer) == wanted == applied.enabled(), applied
        assert (predicted["changed"], applied["changed"]) == (True, True)
        assert predicted.enabled() == wanted
        assert predicted.diff == applied.diff != ""
        assert predicted.steps == [step.replace("done", "planned") for step in applied.steps]
        for again in (self(check=True, **options), self(**options)):
            assert (again["changed"], again.steps, again.diff) == (False, [], "")
        assert observer.enabled_ids(self.guest.observer) == wanted
        return applied

    def refuses(self, code: str, **options: Any) -> Result:
        """Expect this error code, in check mode too, and a guest that stays as it is."""
        found = observer.enabled_ids(self.guest.observer)
        for check in (True, False):
            result = self(check=check, **options)
            assert (result.get("error_code"), result["changed"], result.steps) == (code, False, []), result
            assert observer.enabled_ids(self.guest.observer) == found
        return result
