# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Debian and Ubuntu packages: installed on this machine, or only unpacked, by an apt that leaves the system's alone."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import typing as t

from . import LabError, cache


@contextlib.contextmanager
def locked(name: str) -> t.Iterator[None]:
    """Keep other processes that share the cache out of a build."""
    with open(cache() / f"{name}.lock", "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def appearing(target: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """Give a folder to fill, which becomes `target` at the end or never."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        folder.chmod(0o755)
        yield folder
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(command: t.Sequence[str | os.PathLike[str]], **options: t.Any) -> str:
    """Run a command and return its output; what it said is in the error when it fails."""
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, **options)
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is needed and is not installed") from error
    except subprocess.CalledProcessError as error:
        words = " ".join(os.fspath(word) for word in command)
        raise LabError(f"{words}\n  ended with {error.returncode}: {error.stderr.strip()}") from error
    return t.cast(str, done.stdout)


@functools.cache
def os_release() -> t.Mapping[str, str]:
    """Return what /etc/os-release says, the keys we use always among it."""
    facts = {"ID": "", "VERSION_CODENAME": ""}
    for line in pathlib.Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        key, _equals, value = line.partition("=")
        facts[key] = value.strip("\"'")
    if facts["ID"] not in ("debian", "ubuntu") or not facts["VERSION_CODENAME"]:
        raise LabError("guests for tests are made of Debian's or Ubuntu's packages, and this is neither")
    return facts


@functools.cache
def native() -> str:
    """Return this machine's architecture, as Debian calls it."""
    return run(["dpkg", "--print-architecture"]).strip()


def installed(name: str) -> bool:
    """Tell whether a package is installed."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", name]
    return subprocess.run(query, check=False, capture_output=True, text=True).stdout == "installed"


def install(names: t.Iterable[str]) -> list[str]:
    """Install the packages that are missing and return their names."""
    missing = [name for name in names if not installed(name)]
    if not missing:
        return []
    print(f"installing {' '.join(missing)}", flush=True)
    become = []
    if os.geteuid() != 0:
        if not shutil.which("sudo"):
            raise LabError(f"as root: apt-get install --no-install-recommends {' '.join(missing)} (sudo is not here)")
        become = ["sudo"]
    quiet = [*become, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    subprocess.run([*quiet, "update"], check=False, stdout=subprocess.DEVNULL)
    run([*quiet, "install", "-y", "--no-install-recommends", *missing])
    return missing


class Archive:
    """The distribution's packages for one architecture, with or without backports."""

    def __init__(self, arch: str | None = None, backports: bool = False) -> None:
        self.arch = arch or native()
        self._backports = backports
        self._folder = cache() / "apt" / (self.arch + ("-backports" if backports else ""))
        self._refreshed = False

    def fetch(self, names: t.Sequence[str], accept: str = "", beside_installed: bool = False) -> list[pathlib.Path]:
        """Download packages, and of their dependencies those whose names match `accept` all through.

        Dependencies are counted from nothing, or from what this machine has installed. The answer is remembered,
        so that the same question never needs the network again.
        """
        with locked(f"apt-{self._folder.name}"):
            return self._fetch(names, accept, beside_installed)

    def _fetch(self, names: t.Sequence[str], accept: str, beside_installed: bool) -> list[pathlib.Path]:
        question = json.dumps([self.arch, self._backports, list(names), accept, beside_installed])
        memory = self._folder / (hashlib.sha256(question.encode()).hexdigest()[:16] + ".json")
        debs = self._folder / "debs"
        if memory.exists():
            files = [debs / name for name in json.loads(memory.read_text(encoding="utf-8"))]
            if all(file.exists() for file in files):
                return files
        self._refresh()
        print(f"downloading {' '.join(names)} for {self.arch}", flush=True)
        status = "/var/lib/dpkg/status" if beside_installed else os.fspath(self._folder / "nothing")
        select = ["-t", os_release()["VERSION_CODENAME"] + "-backports"] if self._backports else []
        listing = self._apt(
            *select, "-o", f"Dir::State::status={status}", "--print-uris", "--no-install-recommends", "install", *names
        )
        wanted = []
        for _uri, file in re.findall(r"^'([^']+)' (\S+\.deb) ", listing, re.MULTILINE):
            name, version, _rest = file.split("_")
            if name in names or re.fullmatch(accept, name):
                wanted.append((file, f"{name}={version.replace('%3a', ':')}"))
        missing = [package for file, package in wanted if not (debs / file).exists()]
        if missing:
            self._apt(*select, "download", *missing, cwd=debs)
        memory.write_text(json.dumps([file for file, package in wanted]), encoding="utf-8")
        return [debs / file for file, package in wanted]

    def _apt(self, *words: str, cwd: pathlib.Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": os.fspath(self._folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
        return run(["apt-get", "-qq", *words], cwd=cwd, env=environment)

    def _refresh(self) -> None:
        if self._refreshed:
            return
        for part in ("debs/partial", "lists/partial", "cache/archives/partial"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        (self._folder / "nothing").touch()
        (self._folder / "sources.list").write_text("".join(_sources(self.arch, self._backports)), encoding="utf-8")
        # The system's proxies count here, its hooks and its other sources do not.
        keep = re.compile(r"Acquire::(?!IndexTargets)|Dir::Etc::netrc")
        settings = [line for line in run(["apt-config", "dump"]).splitlines() if keep.match(line)]
        for key, value in (
            ("APT::Architecture", self.arch),
            ("APT::Architectures", self.arch),
            ("APT::Sandbox::User", ""),
            ("Debug::NoLocking", "true"),
            ("Dir::Etc::main", "/dev/null"),
            ("Dir::Etc::parts", "/dev/null"),
            ("Dir::Etc::sourceparts", "/dev/null"),
            ("Dir::Etc::sourcelist", os.fspath(self._folder / "sources.list")),
            ("Dir::State::lists", os.fspath(self._folder / "lists")),
            ("Dir::Cache", os.fspath(self._folder / "cache")),
            ("Dir::Cache::pkgcache", ""),
            ("Dir::Cache::srcpkgcache", ""),
        ):
            settings.append(f'{key} "{value}";')
        (self._folder / "apt.conf").write_text("\n".join(settings) + "\n", encoding="utf-8")
        try:
            self._apt("update")
        except LabError as error:
            print(f"some package lists could not be refreshed, going on with the others: {error}", flush=True)
        self._refreshed = True


def _sources(arch: str, backports: bool) -> t.Iterator[str]:
    """Write the lines of a sources.list, after the system's own mirrors."""
    distribution, codename = os_release()["ID"], os_release()["VERSION_CODENAME"]
    keyring = pathlib.Path(f"/usr/share/keyrings/{distribution}-archive-keyring.gpg")
    signed = f"[signed-by={keyring}] " if keyring.exists() else ""
    components = "main" if distribution == "debian" else "main universe"
    targets = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
    mirrors: dict[str, str] = {}
    for line in targets.splitlines():
        uri, release = line.split()
        if release in (codename, f"{codename}-updates", f"{codename}-security"):
            mirrors[release] = uri
    if codename not in mirrors:
        raise LabError(f"apt knows no archive of {distribution} {codename}: add it to its sources, then apt-get update")
    if distribution == "ubuntu" and arch not in ("amd64", "i386"):
        raise LabError(f"Ubuntu's archive has no packages for {arch}: only Debian is prepared for such guests")
    if backports:
        mirrors[f"{codename}-backports"] = mirrors[codename]
    for release, uri in mirrors.items():
        yield f"deb {signed}{uri} {release} {components}\n"


def unpack(debs: t.Iterable[pathlib.Path], folder: pathlib.Path) -> None:
    """Unpack packages into a folder, installing nothing."""
    for deb in debs:
        run(["dpkg-deb", "-x", deb, folder])
